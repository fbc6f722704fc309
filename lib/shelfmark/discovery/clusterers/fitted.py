"""The clusterer that the options describe, fitted. Legend: N images, D embedding."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.core.types import Array
from shelfmark.discovery.clusterers.auto import choose_clusterer
from shelfmark.discovery.clusterers.clusters import Clusterer
from shelfmark.discovery.clusterers.lander import LanderClusterer
from shelfmark.discovery.clusterers.table import CLUSTERERS
from shelfmark.discovery.clusterers.thresholded import Thresholded
from shelfmark.discovery.fit import Progress, fit
from shelfmark.discovery.options import AUTO, ClustererOptions, LanderOptions


def named(options: ClustererOptions, num_classes: int) -> ClustererOptions:
    """The options with the name of a clusterer in place of `auto`. num_classes: labelled ones to learn from."""
    if options.name != AUTO:
        return options
    name, reason = choose_clusterer(num_classes)
    say(f"clusterer: {reason}")
    return options.model_copy(update={"name": name})


def learns_on_val(options: ClustererOptions) -> bool:
    """Whether it is fitted on the validation classes, which the model was not trained on."""
    if options.fit_on != AUTO:
        return options.fit_on == "val"
    return options.name != AUTO and CLUSTERERS[options.name].learns_on_val


def has_threshold_to_learn(options: ClustererOptions) -> bool:
    """Whether its threshold of links is sought among all images of a round. options: `named`."""
    kind = CLUSTERERS[options.name]
    return options.fit_on == AUTO and issubclass(kind, Thresholded) and options.threshold is None


def fitted_clusterer(
    options: ClustererOptions,
    features: Array,
    labels: Array,
    seed: int = 0,
    state_file: Path | None = None,
    progress: Progress | None = None,
) -> Clusterer:
    """The clusterer that `options` name, with what it learns from labelled images.

    features: (N, D); labels: (N,), -1 leaves an image out. seed: of a network's first weights and its batches, and of
    clusterers that draw. state_file: where the training of a network is kept, so that it goes on after a stop.
    """
    labels = torch.as_tensor(labels)
    options = named(options, len(labels[labels >= 0].unique()))
    if options.name == LanderClusterer.name:
        return _fitted_lander(options, features, labels, seed, state_file, progress)
    kind: Any = CLUSTERERS[options.name]
    clusterer: Clusterer = kind(**_taken(kind, options, seed))
    return clusterer.fit(features, labels)


def with_options(clusterer: Clusterer, options: ClustererOptions) -> Clusterer:
    """The clusterer with those options that need no other training: k, and of a network how its levels are built."""
    if isinstance(clusterer, LanderClusterer):
        return replace(clusterer, k=options.k, **_levels(options.lander))
    return replace(clusterer, k=options.k)


def _taken(kind: type[Clusterer], options: ClustererOptions, seed: int) -> dict[str, Any]:
    """What a clusterer takes of the options, by its own names: those that it renames, and those of equal name."""
    values = {**dict(options), "seed": seed}
    names = kind.option_names or {field.name: field.name for field in fields(kind) if field.name in values}
    return {own: values[name] for own, name in names.items()}


def _fitted_lander(
    options: ClustererOptions,
    features: Array,
    labels: torch.Tensor,
    seed: int,
    state_file: Path | None,
    progress: Progress | None,
) -> LanderClusterer:
    is_labelled = labels >= 0
    if not is_labelled.any():
        raise UserError("lander learns from labelled images, of which there are none.")
    vectors = torch.as_tensor(features)[is_labelled.to(torch.as_tensor(features).device)]
    model = fit(vectors, labels[is_labelled], options.lander, seed=seed, state_file=state_file, progress=progress)
    return LanderClusterer(model=model, k=options.k, **_levels(options.lander))


def _levels(options: LanderOptions) -> dict[str, Any]:
    return {"tau": options.tau, "levels": options.max_levels, "early_stop": options.early_stop}
