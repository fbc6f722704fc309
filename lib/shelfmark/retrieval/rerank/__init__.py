"""Re-ranking after the search, by the neighbours of neighbours. Needs no labels."""

from shelfmark.retrieval.rerank.expansion import alpha_qe, augment_database
from shelfmark.retrieval.rerank.reciprocal import ReRanking, k_reciprocal, k_reciprocal_topk

__all__ = ["ReRanking", "alpha_qe", "augment_database", "k_reciprocal", "k_reciprocal_topk"]
