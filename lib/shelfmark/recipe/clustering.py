"""The clusterer that a recipe describes, fitted. Legend: N images, D embedding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.core.types import Array
from shelfmark.discovery.clusterers import CLUSTERERS, LanderClusterer, choose_clusterer
from shelfmark.discovery.clusterers.table import AnyClusterer
from shelfmark.discovery.fit import Progress, fit
from shelfmark.recipe.discovery import Clusterer, Lander

_OF_CLUSTERING = {"tau", "max_levels", "early_stop"}
_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "components": {"threshold": "threshold"},
    "dbscan": {"threshold": "threshold", "min_images": "min_images"},
    "kmeans": {"num_clusters": "num_clusters"},
    "hdbscan": {"min_images": "min_cluster_size"},
    "infomap": {"threshold": "threshold"},
    "leiden": {"threshold": "threshold", "resolution": "resolution"},
}
"""Of the options in `recipe.discovery.Clusterer` those that each clusterer has, beside k, and its names for them."""


def fitted_clusterer(
    options: Clusterer,
    features: Array,
    labels: Array,
    seed: int = 0,
    state_file: Path | None = None,
    progress: Progress | None = None,
) -> AnyClusterer:
    """The clusterer that `options` name, with what it learns from labelled images.

    features: (N, D); labels: (N,), -1 leaves an image out. seed: of a network's first weights and its batches, and of
    clusterers that draw. state_file: where the training of a network is kept, so that it goes on after a stop.
    """
    labels = torch.as_tensor(labels)
    name = options.name
    if name == "auto":
        chosen, why = choose_clusterer(len(labels[labels >= 0].unique()))
        say(f"clusterer: {why}")
        return fitted_clusterer(
            options.model_copy(update={"name": chosen}), features, labels, seed, state_file, progress
        )
    if name == "lander":
        return _fitted_lander(options, features, labels, seed, state_file, progress)
    kind = CLUSTERERS[name]
    given: dict[str, Any] = {theirs: getattr(options, ours) for ours, theirs in _OPTIONS[name].items()}
    given |= {"seed": seed} if name in ("kmeans", "infomap", "leiden") else {}
    return kind(k=options.k, **given).fit(features, labels)


def as_told(clusterer: AnyClusterer, options: Clusterer) -> AnyClusterer:
    """The clusterer with those options that need no other training: k, and of a network how its levels are built."""
    changes: dict[str, Any] = {"k": options.k}
    if isinstance(clusterer, LanderClusterer):
        changes |= _levels(options.lander)
    return replace(clusterer, **changes)


def _fitted_lander(
    options: Clusterer,
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
    training = options.lander.model_dump(exclude=_OF_CLUSTERING)
    model = fit(vectors, labels[is_labelled], seed=seed, state_file=state_file, progress=progress, **training)
    return LanderClusterer(model=model, k=options.k, **_levels(options.lander))


def _levels(options: Lander) -> dict[str, Any]:
    return {"tau": options.tau, "levels": options.max_levels, "early_stop": options.early_stop}
