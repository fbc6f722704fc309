"""After the search: neighbours of neighbours make a better ranking than one distance alone. Needs no labels."""

from shelfmark.retrieval.rerank.expansion import alpha_qe, augment_database
from shelfmark.retrieval.rerank.reciprocal import ReRanking, k_reciprocal, k_reciprocal_topk

__all__ = ["ReRanking", "alpha_qe", "augment_database", "k_reciprocal", "k_reciprocal_topk"]
