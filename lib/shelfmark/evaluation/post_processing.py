"""What improves a search after the features are made, and what each step is worth. Legend: Q queries, G gallery.

Steps need no labels: these only score. All vectors have length 1, before each step and after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from shelfmark.core.errors import UserError, choose
from shelfmark.core.types import Array
from shelfmark.evaluation.retrieval import search_scores
from shelfmark.ops.class_metrics import Scores
from shelfmark.ops.positive_ranks import PositiveRanks, positive_ranks
from shelfmark.ops.rank_metrics import mean_or_none
from shelfmark.retrieval.query_gallery import QueryGallery, RowsByKey
from shelfmark.retrieval.rerank import ReRanking, alpha_qe, augment_database
from shelfmark.retrieval.vectors import Ids
from shelfmark.retrieval.whitening import PCAWhitening

_BLOCK_DISTANCES = 1 << 23
# Directions of little variance hold mostly noise, which plain whitening would make as large as all others.
_WHITENING_SHRINKAGE = 0.1


@dataclass(frozen=True)
class Searched:
    """query (Q, D) and gallery (G, D) of length 1, on one device, and who they are.

    An image may stand on both sides, with a vector on each.
    """

    query: Tensor
    gallery: Tensor
    sides: QueryGallery

    @classmethod
    def of(
        cls,
        features: Array,
        labels: Array,
        gallery: Array | None = None,
        gallery_labels: Array | None = None,
        query_ids: Ids | None = None,
        gallery_ids: Ids | None = None,
    ) -> Searched:
        """Arguments as those of `retrieval.scores`."""
        sides = QueryGallery.of(features, labels, gallery, gallery_labels, query_ids, gallery_ids)
        query = F.normalize(torch.as_tensor(features), dim=1)
        return cls(query, query if gallery is None else F.normalize(torch.as_tensor(gallery).to(query), dim=1), sides)

    def scores(self) -> Scores:
        """recall@1 and map of the search by cosine."""
        sides = self.sides
        found = search_scores(
            self.query,
            sides.query_labels,
            [1],
            self.gallery,
            sides.gallery_labels,
            query_ids=sides.query_ids,
            gallery_ids=sides.gallery_ids,
        ).means()
        return {name: found[name] for name in ("recall@1", "map")}

    def images(self) -> tuple[Tensor, Tensor, Tensor]:
        """The vectors (N, D) of all images, once each, and the rows of queries (Q,) and gallery (G,) among them.

        An image on both sides has its vector in the gallery.
        """
        ids = np.concatenate([self.sides.gallery_ids, self.sides.query_ids])
        _, first, which = np.unique(ids, return_index=True, return_inverse=True)
        rows = torch.from_numpy(which.reshape(-1)).to(self.query.device)
        vectors = torch.cat([self.gallery, self.query])[torch.from_numpy(first).to(self.query.device)]
        return vectors, rows[len(self.gallery) :], rows[: len(self.gallery)]


def whitened(searched: Searched, dim: int = 0) -> Searched:
    """PCA-whitening fitted on the gallery, `dim` directions of it (0: all that have variance)."""
    whitening = PCAWhitening(dim, _WHITENING_SHRINKAGE).fit(searched.gallery)
    return _with_vectors(searched, whitening.transform(searched.query), whitening.transform(searched.gallery))


def query_expanded(searched: Searched) -> Searched:
    """alpha-QE of queries and gallery by all images."""
    vectors, query_rows, gallery_rows = searched.images()
    expanded, _ = alpha_qe(vectors, vectors[:0])
    return _with_vectors(searched, expanded[query_rows], expanded[gallery_rows])


def database_augmented(searched: Searched) -> Searched:
    """The gallery by its own neighbours; the queries as they were."""
    return replace(searched, gallery=F.normalize(augment_database(searched.gallery), dim=1))


VECTOR_STEPS: dict[str, Callable[[Searched], Searched]] = {
    "whiten": whitened,
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


def reranked_scores(searched: Searched, **settings: Any) -> Scores:
    """recall@1 and map by k-reciprocal distances, a block of queries at a time. settings: as those of `ReRanking`."""
    vectors, query_rows, gallery_rows = searched.images()
    ranking = ReRanking(vectors, gallery_rows, **settings)
    first_rank, precision = [], []
    for ranks in _ranks(searched.sides, lambda queries: ranking.distances(query_rows[queries.to(query_rows.device)])):
        first_rank.append(ranks.first_rank().cpu())
        precision.append(ranks.average_precision().cpu())
    nobody = torch.empty(0, dtype=torch.float64)
    first, found = torch.cat([nobody, *first_rank]), torch.cat([nobody, *precision])
    is_scored = ~found.isnan()
    return {"recall@1": mean_or_none(first[is_scored] <= 1), "map": mean_or_none(found[is_scored])}


def _ranks(sides: QueryGallery, distances: Callable[[Tensor], Tensor]) -> Iterator[PositiveRanks]:
    """The positives' ranks of the queries whose class stands in the gallery. distances: queries (n,) -> (n, G)."""
    same_label, same_id = RowsByKey(sides.gallery_labels), RowsByKey(sides.gallery_ids)
    num_same = np.where(sides.query_labels < 0, 0, same_label.count(sides.query_labels))
    # Queries with like numbers of positives stand together, so that the padding stays small.
    wanted = np.argsort(num_same, kind="stable")
    wanted = wanted[num_same[wanted] > 0]
    step = max(1, _BLOCK_DISTANCES // max(1, len(sides.gallery_ids)))
    for rows in (wanted[start : start + step] for start in range(0, len(wanted), step)):
        scores = -distances(torch.from_numpy(rows))
        own = same_id.rows(sides.query_ids[rows])
        places, columns = np.nonzero(own >= 0)
        scores[torch.from_numpy(places), torch.from_numpy(own[places, columns])] = -torch.inf
        positives = same_label.rows(sides.query_labels[rows])
        positives[sides.gallery_ids[positives] == sides.query_ids[rows, None]] = -1
        yield positive_ranks(scores, torch.from_numpy(positives).to(scores.device))


def _with_vectors(searched: Searched, query: Tensor, gallery: Tensor) -> Searched:
    return replace(searched, query=F.normalize(query, dim=1), gallery=F.normalize(gallery, dim=1))
