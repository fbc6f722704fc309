"""The table of all clusterers: options, the command line, errors and docs read their names here.

A new clusterer is a file like `components.py`, a line here, and a test. `auto` is none of them: `choose_clusterer`
names one.
"""

from __future__ import annotations

from collections.abc import Mapping

from shelfmark.discovery.clusterers.clusters import Clusterer
from shelfmark.discovery.clusterers.components import Components
from shelfmark.discovery.clusterers.dbscan import Dbscan
from shelfmark.discovery.clusterers.hdbscan import Hdbscan
from shelfmark.discovery.clusterers.infomap import Infomap
from shelfmark.discovery.clusterers.kmeans import KMeans
from shelfmark.discovery.clusterers.lander import LanderClusterer
from shelfmark.discovery.clusterers.leiden import Leiden

CLUSTERERS: Mapping[str, type[Clusterer]] = {
    kind.name: kind for kind in (LanderClusterer, Components, Dbscan, KMeans, Hdbscan, Infomap, Leiden)
}
