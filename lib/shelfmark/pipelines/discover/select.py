"""The stage `selection`: which unlabelled images the next round trains on. Legend: N images, D embedding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.files import write_json
from shelfmark.core.log import say
from shelfmark.core.rng import derive_seed
from shelfmark.core.terminal import percent
from shelfmark.core.wording import counted
from shelfmark.discovery.clusterers import Clusters
from shelfmark.discovery.known import JoinRule, known_means
from shelfmark.discovery.rules import density_rule, join_rule, selected_labels
from shelfmark.discovery.thresholds import DensityThreshold
from shelfmark.pipelines.discover.cluster import clusters_of_round
from shelfmark.pipelines.discover.files import RunFiles, write_arrays
from shelfmark.pipelines.discover.review.apply import kept_before
from shelfmark.recipe import Recipe


def select(run: RunFiles, number: int, recipe: Recipe) -> None:
    """Writes the selection, its thresholds, and the names that classes keep from earlier rounds."""
    options, found = recipe.discovery.selection, run.read_clusters(number)
    embeddings, num_known = run.read_embeddings(number, "unlabelled"), len(run.read_sets().known_classes)
    pool = torch.from_numpy(embeddings.features[np.searchsorted(embeddings.rows, found.rows)])
    group = partial(clusters_of_round, run, number, recipe)
    density = _density_rule(run, number, recipe, group, pool)
    join = _join_rule(run, number, recipe, group) if options.join_known else None
    labelled = run.read_embeddings(number, "labelled")
    labels = selected_labels(
        torch.from_numpy(found.clusters),
        torch.from_numpy(found.density),
        pool,
        known_means(torch.from_numpy(labelled.features), torch.from_numpy(labelled.labels)),
        num_known,
        density.value,
        join,
        options,
    ).numpy()
    kept, names = kept_before(run, number, recipe.discovery.reselect, embeddings.rows)
    selection = kept.with_pool(number, num_known, labels, found.clusters, found.density)
    write_arrays(run.selection(number), selection)
    if names:
        write_json(run.names(number), {str(label): name for label, name in names.items()})
    write_json(run.thresholds(number), _thresholds(density, join, options.density_threshold is None))
    num_new = len(np.unique(selection.labels[selection.labels >= num_known]))
    num_joined = int(((selection.labels >= 0) & (selection.labels < num_known)).sum())
    say(
        f"{int(selection.is_selected.sum())} of {counted(len(selection.rows), 'unlabelled image')} selected:"
        f" {counted(num_new, 'new class')}, {counted(num_joined, 'image')} of known ones"
    )


def _density_rule(
    run: RunFiles, number: int, recipe: Recipe, group: Callable[[Tensor], Clusters], pool: Tensor
) -> DensityThreshold:
    """The density threshold of the options, or one learned on the validation images. pool: (N, D)."""
    options = recipe.discovery.selection
    if options.density_threshold is not None:
        return DensityThreshold(options.density_threshold, None, 0.0, True, "as discovery.selection says")
    val = run.read_embeddings(number, "val")
    features, labels = torch.from_numpy(val.features), torch.from_numpy(val.labels)
    rule = density_rule(group, features, labels, pool, options.target_precision)
    precision = "no precision" if rule.precision is None else f"precision {percent(rule.precision)}"
    scores = f"{precision}, coverage {percent(rule.coverage)}"
    say(f"density threshold {rule.value:.4f}: {scores} on val {rule.reason}".rstrip())
    return rule


def _join_rule(run: RunFiles, number: int, recipe: Recipe, group: Callable[[Tensor], Clusters]) -> JoinRule:
    val = run.read_embeddings(number, "val")
    rule = join_rule(
        group,
        torch.from_numpy(val.features),
        torch.from_numpy(val.labels),
        recipe.discovery.selection.join_precision,
        derive_seed(recipe.seed, "discovery.join", number),
    )
    told = rule.reason if rule.threshold is None else f"cosine of {rule.threshold:.4f}"
    say(f"joining clusters to known classes: {told}")
    return rule


def _thresholds(density: DensityThreshold, join: JoinRule | None, is_calibrated: bool) -> dict[str, object]:
    """The content of thresholds.json."""
    told: dict[str, object] = {
        "density": {
            "threshold": density.value,
            "is_calibrated": is_calibrated,
            "precision": density.precision,
            "coverage": density.coverage if is_calibrated else None,
            "reason": density.reason,
        }
    }
    return told if join is None else {**told, "join": asdict(join)}
