"""The nearest gallery vectors of each query, and re-ranking."""

from shelfmark.retrieval import rerank
from shelfmark.retrieval.nearest import search
from shelfmark.retrieval.neighbours import Neighbours

__all__ = ["Neighbours", "rerank", "search"]
