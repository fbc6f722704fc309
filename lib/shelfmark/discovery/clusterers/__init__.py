"""Clusterers: `cluster(features)` -> clusters and densities. `fit` learns what one lacks from labelled images."""

from __future__ import annotations

from shelfmark.discovery.clusterers.auto import MANY_CLASSES, choose_clusterer
from shelfmark.discovery.clusterers.clusters import Clusterer, Clusters, neighbour_density
from shelfmark.discovery.clusterers.components import Components
from shelfmark.discovery.clusterers.dbscan import Dbscan
from shelfmark.discovery.clusterers.files import read_clusterer, write_clusterer
from shelfmark.discovery.clusterers.hdbscan import Hdbscan
from shelfmark.discovery.clusterers.infomap import Infomap
from shelfmark.discovery.clusterers.kmeans import KMeans
from shelfmark.discovery.clusterers.lander import LanderClusterer
from shelfmark.discovery.clusterers.leiden import Leiden
from shelfmark.discovery.clusterers.table import CLUSTERERS

__all__ = [
    "CLUSTERERS",
    "MANY_CLASSES",
    "Clusterer",
    "Clusters",
    "Components",
    "Dbscan",
    "Hdbscan",
    "Infomap",
    "KMeans",
    "LanderClusterer",
    "Leiden",
    "choose_clusterer",
    "neighbour_density",
    "read_clusterer",
    "write_clusterer",
]
