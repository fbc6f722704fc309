"""The nearest gallery vectors of each query, and what makes a better ranking of them."""

from shelfmark.retrieval import rerank
from shelfmark.retrieval.nearest import search
from shelfmark.retrieval.neighbours import Neighbours

__all__ = ["Neighbours", "rerank", "search"]
