"""Every clusterer by its name. `auto` is none of them: `choose_clusterer` names one."""

from __future__ import annotations

from shelfmark.discovery.clusterers.components import Components
from shelfmark.discovery.clusterers.dbscan import Dbscan
from shelfmark.discovery.clusterers.hdbscan import Hdbscan
from shelfmark.discovery.clusterers.infomap import Infomap
from shelfmark.discovery.clusterers.kmeans import KMeans
from shelfmark.discovery.clusterers.lander import LanderClusterer
from shelfmark.discovery.clusterers.leiden import Leiden

AnyClusterer = Components | Dbscan | Hdbscan | Infomap | KMeans | LanderClusterer | Leiden

CLUSTERERS: dict[str, type[AnyClusterer]] = {
    "lander": LanderClusterer,
    "components": Components,
    "dbscan": Dbscan,
    "kmeans": KMeans,
    "hdbscan": Hdbscan,
    "infomap": Infomap,
    "leiden": Leiden,
}
