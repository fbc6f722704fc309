"""The stages of a round after its training. Legend: U unlabelled images, K clusters, C known classes, D embedding."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from shelfmark.core import dist
from shelfmark.core.embeddings import write_embeddings
from shelfmark.core.files import write_json
from shelfmark.core.log import say
from shelfmark.core.rng import derive_seed
from shelfmark.core.together import from_main
from shelfmark.discovery.clusterers import (
    Clusterer,
    Clusters,
    LanderClusterer,
    choose_clusterer,
    read_clusterer,
    write_clusterer,
)
from shelfmark.discovery.clusterers.thresholded import Thresholded
from shelfmark.discovery.known import JoinRule, calibrate, distance_to_known, known_means
from shelfmark.discovery.lander import build_graph
from shelfmark.discovery.select import WAITING, by_density, by_distance, by_size, compacted, joined
from shelfmark.discovery.thresholds import DensityThreshold, density_threshold
from shelfmark.discovery.whitening import load_whitening, save_whitening, whitened, within_class_whitening
from shelfmark.ops.cluster_metrics import bcubed
from shelfmark.pipelines.discover.files import EMBEDDED_SETS, ClustersFile, RunFiles, SelectionFile, write_arrays
from shelfmark.pipelines.discover.review.table import reviewed
from shelfmark.pipelines.discover.sets import set_table
from shelfmark.recipe import Recipe
from shelfmark.recipe.clustering import fitted_clusterer
from shelfmark.retrieval.whitening import PCAWhitening
from shelfmark.runtime.features import features_of
from shelfmark.runtime.trained_model import open_model

Linked = TypeVar("Linked", bound=Thresholded)
_WITH_THRESHOLD = ("components", "dbscan", "infomap", "leiden")
_NUM_TRIALS = 32


def embed(run: RunFiles, number: int, recipe: Recipe) -> None:
    """Writes the embeddings of each set by the round's best model; every process takes part."""
    opened = open_model(run.model(number))
    raw = run.stage(number, "embed") / "raw"
    for name in EMBEDDED_SETS:
        rows = run.rows(name)
        if not len(rows):
            continue
        found = features_of(
            opened.network,
            recipe,
            set_table(run, name),
            raw / name,
            checkpoint_hash=opened.checkpoint.weights_hash,
            precision=opened.precision,
        )
        kept = replace(found, rows=rows[found.rows])
        from_main(partial(write_embeddings, run.embedded(number, name), kept))

    def clear() -> None:
        for name in EMBEDDED_SETS:
            shutil.rmtree(raw / name, ignore_errors=True)

    from_main(clear)


def fit_clusterer(run: RunFiles, number: int, recipe: Recipe) -> None:
    """Writes the clusterer with all that it learns from labelled images."""
    options = recipe.discovery.clusterer
    if options.name == "auto":
        name, reason = choose_clusterer(len(run.read_sets().known_classes))
        options = options.model_copy(update={"name": name})
        say(f"clusterer: {reason}")
    is_searched = options.fit_on == "auto" and options.name in _WITH_THRESHOLD and options.threshold is None
    on_val = options.fit_on == "val" or (options.fit_on == "auto" and options.name in ("kmeans", "hdbscan"))
    whitening = _learned_whitening(run, number, recipe)
    features, labels = _to_learn_from(run, number, on_val)
    state_file = run.round(number) / "clusterer_state.pt"
    fitted = fitted_clusterer(
        options.model_copy(update={"threshold": 0.0}) if is_searched else options,
        whitened(whitening, features.to(_device(recipe))),
        labels,
        seed=derive_seed(recipe.seed, "discovery.clusterer", number),
        state_file=state_file,
    )
    if is_searched and isinstance(fitted, Thresholded):
        fitted = _with_best_threshold(run, number, recipe, fitted, whitening)
    if isinstance(fitted, LanderClusterer):
        fitted = replace(fitted, model=fitted.model.cpu())
    if whitening is not None:
        save_whitening(run.stage(number, "clusterer"), whitening)
    write_clusterer(run.stage(number, "clusterer"), fitted)
    state_file.unlink(missing_ok=True)


def cluster(run: RunFiles, number: int, recipe: Recipe) -> None:
    """Clusters the unlabelled images, but for those that an earlier round selected for good."""
    embeddings = run.read_embeddings(number, "unlabelled")
    pool = ~_frozen(run, number, recipe, embeddings.rows)[0].astype(bool)
    features = torch.from_numpy(embeddings.features[pool])
    found = _clusters(run, number, recipe, features)
    folder = run.stage(number, "clusters")
    write_arrays(run.clusters(number), ClustersFile(embeddings.rows[pool], found.labels.numpy(), found.density.numpy()))
    write_json(folder / "record.json", found.record)
    say(f"{len(features)} unlabelled images in {found.num_clusters} clusters")


def select(run: RunFiles, number: int, recipe: Recipe) -> None:
    """Selects dense images, joins their clusters to known classes, and leaves out what the limits refuse."""
    options, found = recipe.discovery.selection, run.read_clusters(number)
    embeddings, num_known = run.read_embeddings(number, "unlabelled"), len(run.read_sets().known_classes)
    places = np.searchsorted(embeddings.rows, found.rows)
    features, clusters = torch.from_numpy(embeddings.features[places]), torch.from_numpy(found.clusters)
    density_rule = _density_rule(run, number, recipe, features)
    labelled = run.read_embeddings(number, "labelled")
    means = known_means(torch.from_numpy(labelled.features), torch.from_numpy(labelled.labels))
    join_rule = _join_rule(run, number, recipe)

    mask = torch.full((len(clusters),), WAITING)
    labels, mask = by_density(clusters, torch.from_numpy(found.density), density_rule.value, num_known, mask)
    if join_rule is not None:
        labels, mask = joined(labels, mask, join_rule.classes(features, clusters, means), num_known)
    if options.min_distance_to_known:
        distance = distance_to_known(features, means)
        labels, mask = by_distance(labels, mask, distance, options.min_distance_to_known, num_known)
    labels, mask = by_size(labels, mask, options.min_size, options.max_size or None, num_known)
    labels = compacted(labels, num_known)

    selection, names = _with_frozen(run, number, recipe, embeddings.rows, places, labels, found)
    write_arrays(run.selection(number), selection)
    if names:
        write_json(run.names(number), {str(label): name for label, name in names.items()})
    write_json(run.thresholds(number), _told(density_rule, join_rule, options.density_threshold is None))
    num_new = len(np.unique(selection.labels[selection.labels >= num_known]))
    num_joined = int(((selection.labels >= 0) & (selection.labels < num_known)).sum())
    say(
        f"{int(selection.is_selected.sum())} of {len(selection.rows)} unlabelled images selected:"
        f" {num_new} new classes, {num_joined} images of known ones"
    )


def _to_learn_from(run: RunFiles, number: int, on_val: bool) -> tuple[Tensor, Tensor]:
    """Features (n, D) and labels (n,) of the images that a clusterer is fitted on."""
    if on_val:
        val = run.read_embeddings(number, "val")
        return torch.from_numpy(val.features), torch.from_numpy(val.labels)
    labelled = run.read_embeddings(number, "labelled")
    features, labels = [labelled.features], [labelled.labels]
    if number:
        unlabelled, pseudo = run.read_embeddings(number, "unlabelled"), reviewed(run, number - 1)[0]
        rows = run.read_selection(number - 1).rows[pseudo >= 0]
        features.append(unlabelled.features[np.searchsorted(unlabelled.rows, rows)])
        labels.append(pseudo[pseudo >= 0])
    return torch.from_numpy(np.concatenate(features)), torch.from_numpy(np.concatenate(labels))


def _learned_whitening(run: RunFiles, number: int, recipe: Recipe) -> PCAWhitening | None:
    """By the images with a true label; None if not asked for."""
    if not recipe.discovery.clusterer.whiten:
        return None
    labelled = run.read_embeddings(number, "labelled")
    return within_class_whitening(labelled.features, labelled.labels)


def _with_best_threshold(
    run: RunFiles, number: int, recipe: Recipe, clusterer: Linked, whitening: PCAWhitening | None
) -> Linked:
    """The clusterer with the threshold of links under which labelled and val images cluster best, by BCubed F.

    They are clustered in the midst of the pool: among fewer products a wrong link is rarer, and what is learned there
    would join whole chains of them here.
    """
    sets = [run.read_embeddings(number, name) for name in ("labelled", "val", "unlabelled") if run.rows(name).size]
    known, num_known = sets[:-1], len(run.read_sets().known_classes)
    labels = [known[0].labels, *(np.unique(one.labels, return_inverse=True)[1] + num_known for one in known[1:])]
    truth = torch.from_numpy(np.concatenate(labels))
    features = torch.from_numpy(np.concatenate([one.features for one in sets])).to(_device(recipe))
    features = whitened(whitening, features)
    graph = build_graph(features, clusterer.k)
    similarities = graph.similarities[graph.valid].double().sort().values.cpu()
    if not len(similarities):
        return replace(clusterer, threshold=1.0)
    places = torch.linspace(0, len(similarities) - 1, _NUM_TRIALS).long()

    def score(threshold: float) -> float:
        found = replace(clusterer, threshold=threshold).cluster(features, graph)
        return bcubed(truth, found.labels[: len(truth)])[2]

    # Of equally good thresholds the highest, which joins the least.
    candidates = similarities[places].clamp(0, 1).unique().flip(0).tolist()
    scores = [score(threshold) for threshold in candidates]
    best = int(np.argmax(scores))
    say(f"links from a cosine of {candidates[best]:.4f} on: BCubed F {scores[best]:.3f} on labelled and val images")
    return replace(clusterer, threshold=candidates[best])


def _clusters(run: RunFiles, number: int, recipe: Recipe, features: Tensor) -> Clusters:
    """By the round's clusterer, on the device of the run."""
    clusterer, device = read_clusterer(run.stage(number, "clusterer")), _device(recipe)
    if isinstance(clusterer, LanderClusterer):
        clusterer = replace(clusterer, model=clusterer.model.to(device))
    fitted: Clusterer = clusterer
    whitening = load_whitening(run.stage(number, "clusterer"))
    return fitted.cluster(whitened(whitening, features.to(device)))


def _density_rule(run: RunFiles, number: int, recipe: Recipe, pool: Tensor) -> DensityThreshold:
    """The threshold that the options give, or the one that the val images teach.

    These are clustered together with the pool: among fewer images every cluster would be purer than it is there.
    """
    options = recipe.discovery.selection
    if options.density_threshold is not None:
        return DensityThreshold(options.density_threshold, None, 0.0, True, "as discovery.selection says")
    val = run.read_embeddings(number, "val")
    found = _clusters(run, number, recipe, torch.cat([torch.from_numpy(val.features), pool]))
    labels, num_val = torch.from_numpy(val.labels), len(val)
    rule = density_threshold(labels, found.labels[:num_val], found.density[:num_val], options.target_precision)
    precision = "no precision" if rule.precision is None else f"precision {rule.precision:.3f}"
    say(f"density threshold {rule.value:.4f}: {precision}, coverage {rule.coverage:.3f} on val {rule.reason}".rstrip())
    return rule


def _join_rule(run: RunFiles, number: int, recipe: Recipe) -> JoinRule | None:
    """What joins clusters to known classes, None if not asked for; learned on val, some of its classes as if known.

    The labelled images would promise too much: the model was trained to bring those of a class together.
    """
    options = recipe.discovery.selection
    if not options.join_known:
        return None
    val = run.read_embeddings(number, "val")
    rule = calibrate(
        torch.from_numpy(val.features),
        torch.from_numpy(np.unique(val.labels, return_inverse=True)[1]),
        options.join_precision,
        clusters_of=lambda pool: _clusters(run, number, recipe, pool).labels,
        seed=derive_seed(recipe.seed, "discovery.join", number),
    )
    told = rule.reason if rule.threshold is None else f"cosine of {rule.threshold:.4f}"
    say(f"joining clusters to known classes: {told}")
    return rule


def _frozen(
    run: RunFiles, number: int, recipe: Recipe, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, SelectionFile | None]:
    """(U,) bool of the rows that earlier rounds selected for good, (U,) int64 their labels, and that selection."""
    if not number or recipe.discovery.reselect:
        return np.zeros(len(rows), dtype=bool), np.full(len(rows), -1), None
    earlier = run.read_selection(number - 1)
    labels = reviewed(run, number - 1)[0][np.searchsorted(earlier.rows, rows)]
    return labels >= 0, labels, earlier


def _with_frozen(
    run: RunFiles,
    number: int,
    recipe: Recipe,
    rows: np.ndarray,
    places: np.ndarray,
    labels: Tensor,
    found: ClustersFile,
) -> tuple[SelectionFile, dict[int, str]]:
    """The round's selection over all unlabelled images, with what earlier rounds selected for good, and its names.

    rows: (U,). places: of the pool in it. labels: of the pool, a new class from C on; frozen classes come before them.
    """
    num_known = len(run.read_sets().known_classes)
    is_frozen, frozen_labels, earlier = _frozen(run, number, recipe, rows)
    all_labels, clusters = np.full(len(rows), -1), np.full(len(rows), -1)
    density, selected_in = np.zeros(len(rows), dtype=np.float32), np.full(len(rows), -1)
    names: dict[int, str] = {}
    offset = 0
    if earlier is not None:
        old = np.unique(frozen_labels[frozen_labels >= num_known])
        compact = np.where(frozen_labels < num_known, frozen_labels, num_known + np.searchsorted(old, frozen_labels))
        all_labels[is_frozen] = compact[is_frozen]
        before = np.searchsorted(earlier.rows, rows[is_frozen])
        density[is_frozen], selected_in[is_frozen] = earlier.density[before], earlier.selected_in[before]
        offset = len(old)
        given = run.read_names(number - 1) | reviewed(run, number - 1)[1]
        names = {num_known + place: given[label] for place, label in enumerate(old.tolist()) if label in given}
    new = labels.numpy()
    all_labels[places] = np.where(new >= num_known, new + offset, new)
    clusters[places], density[places] = found.clusters, found.density
    selected_in[places] = np.where(new >= 0, number, -1)
    return SelectionFile(rows, all_labels, clusters, density, selected_in), names


def _told(density: DensityThreshold, join: JoinRule | None, is_calibrated: bool) -> dict[str, object]:
    told: dict[str, object] = {
        "density": {
            "threshold": density.value,
            "is_calibrated": is_calibrated,
            "precision": density.precision,
            "coverage": density.coverage if is_calibrated else None,
            "reason": density.reason,
        }
    }
    if join is not None:
        told["join"] = {
            "threshold": join.threshold,
            "precision": join.precision,
            "coverage": join.coverage,
            "reason": join.reason,
        }
    return told


def _device(recipe: Recipe) -> torch.device:
    return dist.local_device(recipe.train.device)
