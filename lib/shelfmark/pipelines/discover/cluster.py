"""The stage `clusters`: the unlabelled images in groups. Legend: N images, D embedding."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from shelfmark.core import dist
from shelfmark.core.files import write_json
from shelfmark.core.log import say
from shelfmark.core.wording import counted
from shelfmark.discovery.clusterers import Clusters, LanderClusterer, read_clusterer
from shelfmark.discovery.whitening import load_whitening, whiten_features
from shelfmark.pipelines.discover.files import ClustersFile, RunFiles, write_arrays
from shelfmark.pipelines.discover.review.apply import kept_before
from shelfmark.recipe import Recipe


def cluster(run: RunFiles, number: int, recipe: Recipe) -> None:
    """Clusters the unlabelled images, except those that an earlier round selected for good."""
    embeddings = run.read_embeddings(number, "unlabelled")
    pool = ~kept_before(run, number, recipe.discovery.reselect, embeddings.rows)[0].is_selected
    features = torch.from_numpy(embeddings.features[pool])
    found = clusters_of_round(run, number, recipe, features)
    write_arrays(run.clusters(number), ClustersFile(embeddings.rows[pool], found.labels.numpy(), found.density.numpy()))
    write_json(run.stage(number, "clusters") / "record.json", found.record)
    say(f"{counted(len(features), 'unlabelled image')} in {counted(found.num_clusters, 'cluster')}")


def clusters_of_round(run: RunFiles, number: int, recipe: Recipe, features: Tensor) -> Clusters:
    """Clusters of any features (N, D) by the round's clusterer, on the device of the run."""
    folder, device = run.stage(number, "clusterer"), dist.local_device(recipe.train.device)
    clusterer = read_clusterer(folder)
    if isinstance(clusterer, LanderClusterer):
        clusterer = replace(clusterer, model=clusterer.model.to(device))
    return clusterer.cluster(whiten_features(load_whitening(folder), features.to(device)))
