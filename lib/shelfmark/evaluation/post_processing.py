"""What improves a search after the features are made, and what each step is worth. Legend: Q queries, G gallery.

Steps need no labels: these only score. All vectors have length 1, before each step and after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from shelfmark.core.errors import UserError, choose
from shelfmark.evaluation.retrieval import block_ranks, search_scores
from shelfmark.ops.class_metrics import Scores
from shelfmark.ops.rank_metrics import mean_or_none
from shelfmark.retrieval.query_gallery import QueryGallery
from shelfmark.retrieval.rerank import ReRanking, alpha_qe, augment_database
from shelfmark.retrieval.whitening import PCAWhitening

_BLOCK_DISTANCES = 1 << 23
# Directions of little variance hold mostly noise, which plain whitening would make as large as all others.
_WHITENING_SHRINKAGE = 0.1


def of_length_1(sides: QueryGallery) -> QueryGallery:
    """Both sides of length 1, on the queries' device."""
    query = F.normalize(sides.query, dim=1)
    gallery = query if sides.is_same_set else F.normalize(sides.gallery.to(query), dim=1)
    # A step may move one side alone, and then an image has a vector on each.
    return replace(sides, query=query, gallery=gallery, is_same_set=False)


def plain_scores(sides: QueryGallery) -> Scores:
    """recall@1 and map of the search by cosine."""
    found = search_scores(sides, [1]).means()
    return {name: found[name] for name in ("recall@1", "map")}


def whiten_query_gallery(sides: QueryGallery, dim: int = 0) -> QueryGallery:
    """PCA-whitening fitted on the gallery, `dim` directions of it (0: all that have variance)."""
    whitening = PCAWhitening(dim, _WHITENING_SHRINKAGE).fit(sides.gallery)
    return _with_vectors(sides, whitening.transform(sides.query), whitening.transform(sides.gallery))


def query_expanded(sides: QueryGallery) -> QueryGallery:
    """alpha-QE of queries and gallery by all images."""
    vectors, query_rows, gallery_rows = _images(sides)
    expanded, _ = alpha_qe(vectors, vectors[:0])
    return _with_vectors(sides, expanded[query_rows], expanded[gallery_rows])


def database_augmented(sides: QueryGallery) -> QueryGallery:
    """The gallery by its own neighbours; the queries as they were."""
    return replace(sides, gallery=F.normalize(augment_database(sides.gallery), dim=1))


VECTOR_STEPS: dict[str, Callable[[QueryGallery], QueryGallery]] = {
    "whiten": whiten_query_gallery,
    "alpha_qe": query_expanded,
    "dba": database_augmented,
}
FEATURE_STEPS = ("flip", "scales")
LAST_STEP = "k_reciprocal"
STEPS = (*FEATURE_STEPS, *VECTOR_STEPS, LAST_STEP)


def check_steps(steps: Sequence[str]) -> Sequence[str]:
    """`steps`, if they can follow each other: features first, the re-ranking last, none twice."""
    for step in steps:
        choose("--post", step, STEPS)
    if len(set(steps)) < len(steps):
        raise UserError(f"--post {' '.join(steps)}: a step stands twice.")
    kinds = [0 if step in FEATURE_STEPS else 2 if step == LAST_STEP else 1 for step in steps]
    if kinds != sorted(kinds):
        raise UserError(
            f"--post {' '.join(steps)}: {' and '.join(FEATURE_STEPS)} make the features, so they come first, and "
            f"{LAST_STEP} makes distances, so it comes last."
        )
    return steps


def reranked_scores(sides: QueryGallery, **settings: Any) -> Scores:
    """recall@1 and map by k-reciprocal distances, a block of queries at a time. settings: as those of `ReRanking`."""
    vectors, query_rows, gallery_rows = _images(sides)
    ranking = ReRanking(vectors, gallery_rows, **settings)

    def scores_of(rows: np.ndarray) -> Tensor:
        return -ranking.distances(query_rows[torch.from_numpy(rows).to(query_rows.device)])

    block = max(1, _BLOCK_DISTANCES // max(1, len(sides.gallery_ids)))
    first_rank, precision = [], []
    for _, ranks in block_ranks(sides, sides.class_sizes(), block, scores_of):
        first_rank.append(ranks.first_rank().cpu())
        precision.append(ranks.average_precision().cpu())
    nobody = torch.empty(0, dtype=torch.float64)
    first, found = torch.cat([nobody, *first_rank]), torch.cat([nobody, *precision])
    is_scored = ~found.isnan()
    return {"recall@1": mean_or_none(first[is_scored] <= 1), "map": mean_or_none(found[is_scored])}


def _images(sides: QueryGallery) -> tuple[Tensor, Tensor, Tensor]:
    """The vectors (N, D) of all images, once each, and the rows of queries (Q,) and gallery (G,) among them.

    An image on both sides has its vector in the gallery.
    """
    ids = np.concatenate([sides.gallery_ids, sides.query_ids])
    _, first, which = np.unique(ids, return_index=True, return_inverse=True)
    vectors = torch.cat([sides.gallery, sides.query])
    rows = torch.from_numpy(which.reshape(-1)).to(vectors.device)
    num_gallery = len(sides.gallery)
    return vectors[torch.from_numpy(first).to(vectors.device)], rows[num_gallery:], rows[:num_gallery]


def _with_vectors(sides: QueryGallery, query: Tensor, gallery: Tensor) -> QueryGallery:
    return replace(sides, query=F.normalize(query, dim=1), gallery=F.normalize(gallery, dim=1))
