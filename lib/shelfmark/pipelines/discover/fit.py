"""The stage `clusterer`: fits, on labelled images, the clusterer that groups the unlabelled images.

Legend: N images, D embedding.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from shelfmark.core import dist
from shelfmark.core.log import say
from shelfmark.core.rng import derive_seed
from shelfmark.core.terminal import percent
from shelfmark.discovery.clusterers import LanderClusterer, write_clusterer
from shelfmark.discovery.clusterers.fitted import fitted_clusterer, has_threshold_to_learn, learns_on_val, named
from shelfmark.discovery.clusterers.thresholded import Thresholded
from shelfmark.discovery.rules import with_best_threshold
from shelfmark.discovery.whitening import save_whitening, whiten_features, within_class_whitening
from shelfmark.pipelines.discover.files import RunFiles
from shelfmark.pipelines.discover.review.apply import reviewed
from shelfmark.recipe import Recipe


def fit_clusterer(run: RunFiles, number: int, recipe: Recipe) -> None:
    """Writes the fitted clusterer and, if the options ask for it, the whitening before it."""
    options = named(recipe.discovery.clusterer, len(run.read_sets().known_classes))
    is_searched = has_threshold_to_learn(options)
    device = dist.local_device(recipe.train.device)
    whitening = None
    if options.whiten:
        labelled = run.read_embeddings(number, "labelled")
        whitening = within_class_whitening(labelled.features, labelled.labels)
    features, labels = _held_out(run, number) if learns_on_val(options) else _trained_on(run, number)
    state_file = run.round(number) / "clusterer_state.pt"
    fitted = fitted_clusterer(
        options.model_copy(update={"threshold": 0.0}) if is_searched else options,
        whiten_features(whitening, features.to(device)),
        labels,
        seed=derive_seed(recipe.seed, "discovery.clusterer", number),
        state_file=state_file,
    )
    if is_searched and isinstance(fitted, Thresholded):
        features, labels = _amid_the_pool(run, number)
        fitted, score = with_best_threshold(fitted, whiten_features(whitening, features.to(device)), labels)
        if score is not None:
            say(
                f"links from a cosine of {fitted.threshold:.4f} on: BCubed F {percent(score)} on labelled and val"
                " images"
            )
    if isinstance(fitted, LanderClusterer):
        fitted = replace(fitted, model=fitted.model.cpu())
    if whitening is not None:
        save_whitening(run.stage(number, "clusterer"), whitening)
    write_clusterer(run.stage(number, "clusterer"), fitted)
    state_file.unlink(missing_ok=True)


def _held_out(run: RunFiles, number: int) -> tuple[Tensor, Tensor]:
    """Features (N, D) and labels (N,) of the validation images."""
    val = run.read_embeddings(number, "val")
    return torch.from_numpy(val.features), torch.from_numpy(val.labels)


def _trained_on(run: RunFiles, number: int) -> tuple[Tensor, Tensor]:
    """Features (N, D) and labels (N,) of the images that the round's model was trained on."""
    labelled = run.read_embeddings(number, "labelled")
    features, labels = [labelled.features], [labelled.labels]
    if number:
        unlabelled, pseudo = run.read_embeddings(number, "unlabelled"), reviewed(run, number - 1)[0]
        rows = run.read_selection(number - 1).rows[pseudo >= 0]
        features.append(unlabelled.features[np.searchsorted(unlabelled.rows, rows)])
        labels.append(pseudo[pseudo >= 0])
    return torch.from_numpy(np.concatenate(features)), torch.from_numpy(np.concatenate(labels))


def _amid_the_pool(run: RunFiles, number: int) -> tuple[Tensor, Tensor]:
    """Features (N, D) of labelled, validation and unlabelled images, and labels (n,) of those that have one."""
    sets = [run.read_embeddings(number, name) for name in ("labelled", "val", "unlabelled") if run.rows(name).size]
    known, num_known = sets[:-1], len(run.read_sets().known_classes)
    labels = [known[0].labels, *(np.unique(one.labels, return_inverse=True)[1] + num_known for one in known[1:])]
    features = np.concatenate([one.features for one in sets])
    return torch.from_numpy(features), torch.from_numpy(np.concatenate(labels))
