"""Re-ranking by shared k-reciprocal neighbours, in sparse form. Legend: N vectors, Q queries, G gallery, D embedding.

Source: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017. Formulas, and what
differs between the implementations: docs/definitions.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.retrieval.exact import pair_scores, products
from shelfmark.retrieval.nearest import exact_neighbours, search
from shelfmark.retrieval.rerank.sparse_rows import SparseRows
from shelfmark.retrieval.vectors import comparable

A = TypeVar("A", np.ndarray, Tensor)
_BLOCK_ROWS = 1024
_BLOCK_VALUES = 1 << 22
_BLOCK_PAIRS = 1 << 18  # of weights to compare: small enough to stay in a CPU's cache


def k_reciprocal(query: A, gallery: A, k1: int = 20, k2: int = 6, lambda_: float = 0.3, normalize: bool = False) -> A:
    """Distances (Q, G): (1 - lambda_) * Jaccard distance of the k-reciprocal neighbours + lambda_ * original distance.

    query (Q, D), gallery (G, D): numpy or torch, compared by cosine. The neighbours are those among queries and gallery
    together. normalize: False takes 1 - cosine as original distance and weights neighbours by exp(-|a - b|^2); True
    takes |a - b|^2 divided by a vector's greatest for both, as the paper's code does.
    k1: neighbours of a vector besides itself, as in the authors' code; fast-reid's k1=20 counts the vector itself and
    is k1=19 here. k2 counts the vector itself.
    Memory: the result and that of `ReRanking`. For a large gallery see `k_reciprocal_topk`.
    """
    ranking = _of_sides(query, gallery, k1, k2, lambda_, normalize)
    distances = ranking.units.new_empty(len(query), len(gallery))
    everyone = torch.arange(len(query), device=distances.device)
    for block, rows in _row_blocks(everyone, max(1, _BLOCK_VALUES // max(1, len(gallery)))):
        distances[block] = ranking.distances(rows)
    return distances.numpy() if isinstance(query, np.ndarray) else distances


def k_reciprocal_topk(
    query: A, gallery: A, k: int, k1: int = 20, k2: int = 6, lambda_: float = 0.3, normalize: bool = False
) -> tuple[A, A]:
    """The k least distances of `k_reciprocal`, (Q, k), and int64 gallery rows (Q, k); the others are not kept.

    Of equal distances the lower row comes first. Where the gallery is smaller than k, the row is -1 and the distance
    inf.
    """
    if k < 1:
        raise UserError(f"k={k}: ask for at least one neighbour.")
    ranking = _of_sides(query, gallery, k1, k2, lambda_, normalize)
    distances, rows = ranking.nearest(torch.arange(len(query), device=ranking.units.device), k)
    return (distances.numpy(), rows.numpy()) if isinstance(query, np.ndarray) else (distances, rows)


class ReRanking:
    """The k-reciprocal weights of N vectors, and the distances of any of the vectors to a gallery among them.

    units: (N, D) of length 1. gallery_rows: (G,) the rows that are the gallery.
    Memory: N (k1 + 1) neighbours, the result, and sparse rows of weights: at most (k1 + 1) (k1 / 2 + 2) a vector before
    the mean over k2 neighbours, k2 times as many after it (1512 for k1 = 20 and k2 = 6, where generated clusters of
    five took 96). Never N x N.
    """

    def __init__(
        self,
        units: Tensor,
        gallery_rows: Tensor,
        k1: int = 20,
        k2: int = 6,
        lambda_: float = 0.3,
        normalize: bool = False,
    ) -> None:
        _check(k1, k2, lambda_)
        self.units = units
        self._gallery, self._lambda = units[gallery_rows], lambda_
        self._reach = _reach(units) if normalize else None
        self._weights = self._neighbour_weights(k1, k2)
        self._holders = self._weights.columns_of(gallery_rows, len(units))

    def distances(self, rows: Tensor) -> Tensor:
        """(n, G) from the vectors `rows` (n,) to the whole gallery."""
        shared = self._shared(rows)
        # The Jaccard distance is 1 - m / (2 - m), where m is the sum of the lesser weights: each row sums to 1.
        jaccard = shared.neg().div_(shared.neg_().add_(2)).add_(1)
        original = self._original(products(self.units[rows], self._gallery, "dot"), rows)
        return jaccard.mul_(1 - self._lambda).add_(original, alpha=self._lambda)

    def nearest(self, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k least of `distances`, (n, k), and places in the gallery, (n, k), as in `k_reciprocal_topk`."""
        best = self.units.new_full((len(rows), k), torch.inf)
        columns = torch.full((len(rows), k), -1, dtype=torch.int64, device=rows.device)
        num_gallery = len(self._gallery)
        width = min(k, num_gallery)
        if width:
            for block, block_rows in _row_blocks(rows, max(1, _BLOCK_VALUES // num_gallery)):
                distances = self.distances(block_rows)
                last = distances.kthvalue(width, dim=1, keepdim=True).values
                # Stable sorts by row, then by distance, then by query: the last sort has the highest priority.
                place, column = (distances <= last).nonzero(as_tuple=True)
                order = distances[place, column].argsort(stable=True)
                order = order[place[order].argsort(stable=True)]
                counts = torch.bincount(place, minlength=len(block_rows))
                first = counts.cumsum(0) - counts
                order = order[first[:, None] + torch.arange(width, device=rows.device)]
                columns[block, :width] = column[order]
                best[block, :width] = distances.gather(1, column[order])
        return best, columns

    def _shared(self, rows: Tensor) -> Tensor:
        """(n, G) the sum over columns of the lesser weight; only pairs of rows with a column in common are visited."""
        num_gallery = len(self._gallery)
        shared = self.units.new_zeros(len(rows) * num_gallery)
        for part in self._parts(rows):
            place, column, value = self._weights.entries(rows[part])
            owner, holder, other = self._holders.entries(column)
            first = (part[place] * num_gallery).index_select(0, owner)
            shared.index_add_(0, first.add_(holder), torch.minimum(value.index_select(0, owner), other))
        return shared.view(len(rows), num_gallery)

    def _parts(self, rows: Tensor) -> Iterator[Tensor]:
        """0..n-1 in parts with bounded numbers of pairs of weights to compare; a single row may have more."""
        for block, block_rows in _row_blocks(rows, _BLOCK_ROWS):
            place, column, _ = self._weights.entries(block_rows)
            pairs = torch.zeros_like(block_rows).index_add_(0, place, self._holders.counts[column])
            group = (pairs.cumsum(0) - pairs) // _BLOCK_PAIRS
            numbers = torch.arange(block.start, block.start + len(block_rows), device=rows.device)
            yield from numbers.split(group.unique_consecutive(return_counts=True)[1].tolist())

    def _neighbour_weights(self, k1: int, k2: int) -> SparseRows:
        """(N, N): each row sums to 1 over the expanded k-reciprocal neighbours of its k2 nearest, itself the first."""
        everyone = torch.arange(len(self.units), device=self.units.device)
        _, others = exact_neighbours(self.units, max(k1, k2 - 1))
        lists = torch.cat([everyone[:, None], others], dim=1)
        half = _reciprocal(lists, everyone, round(k1 / 2) + 1)
        step = max(1, _BLOCK_VALUES // (min(k1 + 1, lists.shape[1]) ** 2 * half.shape[1]))
        own = SparseRows.stacked(
            [self._own_weights(rows, _expanded(lists, half, rows, k1)) for _, rows in _row_blocks(everyone, step)]
        )
        if k2 == 1:
            return own
        nearest = lists[:, :k2]
        return SparseRows.stacked([_mean_rows(own, nearest[block]) for block, _ in _row_blocks(everyone, _BLOCK_ROWS)])

    def _own_weights(self, rows: Tensor, members: Tensor) -> SparseRows:
        """Softmax of the negative squared distance over each row's members (n, M), padded with -1."""
        is_member = members >= 0
        cosine = pair_scores(self.units[rows], self.units, members.clamp_min(0), "dot")
        distance = 2 - 2 * cosine
        if self._reach is not None:
            distance /= self._reach[rows, None]
        weights = (-distance).masked_fill(~is_member, -torch.inf).softmax(dim=1)
        place = is_member.nonzero()[:, 0]
        return SparseRows.of_entries(place, members[is_member], weights[is_member], len(rows), len(self.units))

    def _original(self, cosine: Tensor, rows: Tensor) -> Tensor:
        """(n, G) the original distances of vectors `rows` (n,) from their cosines."""
        return 1 - cosine if self._reach is None else (2 - 2 * cosine) / self._reach[rows, None]


def _of_sides(query: A, gallery: A, k1: int, k2: int, lambda_: float, normalize: bool) -> ReRanking:
    of_query, of_gallery = comparable(query, gallery, "cosine")
    units = torch.cat([of_query, of_gallery.to(of_query.device)])
    if not len(units):
        raise UserError("There is nothing to rank: neither queries nor gallery hold a vector.")
    gallery_rows = torch.arange(len(of_query), len(units), device=units.device)
    return ReRanking(units, gallery_rows, k1, k2, lambda_, normalize)


def _check(k1: int, k2: int, lambda_: float) -> None:
    for name, value in (("k1", k1), ("k2", k2)):
        if value < 1:
            raise UserError(f"{name}={value}: it is a number of neighbours, at least 1.")
    if not 0 <= lambda_ <= 1:
        raise UserError(f"lambda_={lambda_}: the share of the original distance lies between 0 and 1.")


def _reciprocal(lists: Tensor, rows: Tensor, width: int) -> Tensor:
    """(n, w) the first `width` of each row's list that have the row among their own first; -1 for the others."""
    width = min(width, lists.shape[1])
    found = []
    for _, block in _row_blocks(rows, max(1, _BLOCK_VALUES // width**2)):
        near = lists[block, :width]
        is_mutual = (lists[near, :width] == block[:, None, None]).any(dim=2)
        found.append(near.masked_fill(~is_mutual, -1))
    return torch.cat(found) if found else lists[:0, :width]


def _expanded(lists: Tensor, half: Tensor, rows: Tensor, k1: int) -> Tensor:
    """(n, M) int64: each row's k1-reciprocal neighbours, with the half lists of those that overlap; -1 for none.

    The reciprocal list of a neighbour, of half the length (H), is added if more than 2/3 of it are in the row's list.
    half: (N, H) those lists, -1 for none.
    """
    members = _reciprocal(lists, rows, k1 + 1)
    brought = half[members.clamp_min(0)].masked_fill(members[:, :, None] < 0, -1)
    is_known = (brought[..., None] == members[:, None, None, :]).any(dim=3) & (brought >= 0)
    overlaps = 3 * is_known.sum(dim=2) > 2 * (brought >= 0).sum(dim=2)
    union = torch.cat([members, brought.masked_fill(~overlaps[:, :, None], -1).flatten(1)], dim=1)
    union = union.sort(dim=1, descending=True).values
    union[:, 1:] = union[:, 1:].masked_fill(union[:, 1:] == union[:, :-1], -1)
    union = union.sort(dim=1, descending=True).values
    return union[:, : int((union >= 0).sum(dim=1).max())]


def _mean_rows(weights: SparseRows, nearest: Tensor) -> SparseRows:
    """(n, N) the mean of the rows `nearest` (n, k2)."""
    place, column, value = weights.entries(nearest.flatten())
    num_columns = len(weights.counts)
    return SparseRows.of_entries(place // nearest.shape[1], column, value / nearest.shape[1], len(nearest), num_columns)


def _reach(units: Tensor) -> Tensor:
    """(N,) each vector's greatest squared distance to any; 1 where all are the same."""
    opposite, _ = search(-units, units, 1)
    reach = 2 + 2 * opposite[:, 0]
    return reach.masked_fill(reach <= 0, 1)


def _row_blocks(rows: Tensor, step: int) -> Iterator[tuple[slice, Tensor]]:
    for start in range(0, len(rows), step):
        yield slice(start, start + step), rows[start : start + step]
