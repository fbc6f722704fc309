"""`shelfmark cluster fit` and `cluster run`: a clusterer learns from stored embeddings, and groups others.

clusters.npz   rows (N,) int64 of the embeddings, clusters (N,) int64 from 0 on, density (N,) float32
scores.json    the number of clusters and, if there are labels, their agreement with the clusters, over all images and
               over the dense ones
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shelfmark.config.overrides import Override
from shelfmark.core import dist
from shelfmark.core.contracts import Embeddings
from shelfmark.core.destinations import require_place
from shelfmark.core.disk import make_folders
from shelfmark.core.embeddings import read_embeddings, write_embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.files import write_json
from shelfmark.core.log import say
from shelfmark.core.rng import derive_seed, numpy_generator
from shelfmark.core.strings import Strings
from shelfmark.discovery.clusterers import Clusters, LanderClusterer, read_clusterer, write_clusterer
from shelfmark.discovery.clusterers.fitted import fitted_clusterer, with_options
from shelfmark.discovery.whitening import FILE as WHITENING
from shelfmark.discovery.whitening import load_whitening, save_whitening, whiten_features, within_class_whitening
from shelfmark.evaluation.clustering import agreement
from shelfmark.ops.class_metrics import Scores
from shelfmark.pipelines.discover.files import ClustersFile, write_arrays
from shelfmark.recipe import Recipe

SMOKE_FOLDER = Path("log/cluster_smoke")
_SMOKE = {
    "discovery.clusterer.lander.hidden": 16,
    "discovery.clusterer.lander.epochs": 2,
    "discovery.clusterer.lander.batch_size": 64,
}


def fit_clusterer(recipe: Recipe, embeddings: Path, out: Path, overwrite: bool = False) -> str:
    """Writes the clusterer of `recipe.discovery.clusterer`, fitted on labelled embeddings, to the folder `out`.

    Returns the clusterer's name. overwrite: replace an existing clusterer; False raises a UserError.
    """
    if not overwrite and out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty; remove it if it is not needed, or give another --out.")
    require_place(out / WHITENING, "--out")
    read = read_embeddings(embeddings)
    options = recipe.discovery.clusterer
    features = _on(recipe, read.features)
    whitening = within_class_whitening(features, read.labels) if options.whiten else None
    clusterer = fitted_clusterer(
        options, whiten_features(whitening, features), read.labels, recipe.seed, progress=_told
    )
    if isinstance(clusterer, LanderClusterer):
        clusterer = replace(clusterer, model=clusterer.model.cpu())
    make_folders(out)
    (out / WHITENING).unlink(missing_ok=True)
    if whitening is not None:
        save_whitening(out, whitening)
    write_clusterer(out, clusterer)
    say(f"{clusterer.name}, fitted on {len(read):,} embeddings, is in {out}")
    return clusterer.name


def run_clusterer(recipe: Recipe, embeddings: Path, folder: Path, out: Path) -> dict[str, Scores]:
    """Writes the clusters of all embeddings to `out`, and returns its scores: `all`, and `dense` ones.

    folder: of the fitted clusterer and its whitening; k, tau, max_levels and early_stop are the recipe's. Dense are the
    images above `discovery.selection.density_threshold`, where that is given.
    """
    require_place(out / "clusters.npz", "--out")
    read = read_embeddings(embeddings)
    clusterer = with_options(read_clusterer(folder), recipe.discovery.clusterer)
    if isinstance(clusterer, LanderClusterer):
        clusterer = replace(clusterer, model=clusterer.model.to(_device(recipe)))
    found = clusterer.cluster(whiten_features(load_whitening(folder), _on(recipe, read.features)))
    written = ClustersFile(read.rows, found.labels.numpy(), found.density.numpy())
    make_folders(out)
    write_arrays(out / "clusters.npz", written)
    scores = {"all": _scores(read.labels, found, np.ones(len(read), dtype=bool))}
    threshold = recipe.discovery.selection.density_threshold
    if threshold is not None:
        scores["dense"] = _scores(read.labels, found, written.density > threshold)
    write_json(out / "scores.json", {**scores, "clusterer": found.record})
    return scores


def smoke_overrides() -> list[Override]:
    """Options with which the network trains in a second."""
    return [Override(key, value, "--smoke") for key, value in _SMOKE.items()]


def smoke_embeddings(name: str, num_classes: int = 24) -> Path:
    """Writes made-up embeddings in place of a data set's, and returns their folder: long-tailed classes around random
    directions.

    name: of the data set; each data set has its own classes.
    """
    folder = SMOKE_FOLDER / name
    if folder.exists():
        return folder
    generator = numpy_generator(derive_seed(0, f"cluster.smoke.{name}"), "embeddings")
    counts = np.maximum(2, 40 // np.arange(1, num_classes + 1))
    labels = np.repeat(np.arange(num_classes), counts)
    centres = generator.standard_normal((num_classes, 32))
    features = (centres[labels] + 0.5 * generator.standard_normal((len(labels), 32))).astype(np.float32)
    names = Strings.of(f"{name}/{row}" for row in range(len(labels)))
    write_embeddings(folder, Embeddings(features, labels, names, names, {"source": "generated"}))
    return folder


def _on(recipe: Recipe, features: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(features).to(_device(recipe))


def _device(recipe: Recipe) -> torch.device:
    return dist.local_device(recipe.train.device)


def _scores(labels: np.ndarray, found: Clusters, chosen: np.ndarray) -> Scores:
    """Counts, and with labels pairwise and BCubed precision, recall and F, and NMI, of the images `chosen`."""
    clusters = found.labels.numpy()[chosen]
    scores: Scores = {"images": len(clusters), "clusters": len(np.unique(clusters))}
    known = chosen & (labels >= 0)
    if not known.any():
        return scores
    return scores | agreement(labels[known], found.labels.numpy()[known])


def _told(epoch: int, num_epochs: int, losses: dict[str, Any]) -> None:
    if epoch in (1, num_epochs) or epoch % max(1, num_epochs // 10) == 0:
        say(f"epoch {epoch}/{num_epochs}: " + ", ".join(f"{name} {value:.4f}" for name, value in losses.items()))
