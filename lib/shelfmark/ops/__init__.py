"""Pure tensor arithmetic, which imports with torch and numpy alone. Here stand the rooms whose names are fixed."""

from shelfmark.ops import cluster_metrics, longtail, margins, pooling, rank_metrics

__all__ = ["cluster_metrics", "longtail", "margins", "pooling", "rank_metrics"]
