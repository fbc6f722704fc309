"""Where a query's positives stand in its ranking, and what that scores. Legend: Q queries, G gallery, R positives.

Every score of a ranking can be read from the ranks of its positives; no ranked list is needed. Formulas, ties and
denominators: docs/definitions.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_TIED_AT_A_TIME = 64
# With 60,000 items a row, a sort of the row took as long on a CPU as counting for 40 positives. A GPU is similar.
_COUNTED_POSITIVES = 32


@dataclass(frozen=True)
class PositiveRanks:
    """Ranks of all positives of each query in the whole gallery.

    ranks: (Q, R) float64 from 1, R >= 1, rising in a row; inf where a query has fewer than R positives. Each score
    is (Q,) float64, NaN for a query without a positive.
    """

    ranks: Tensor

    @property
    def num_positives(self) -> Tensor:
        """(Q,) float64, NaN instead of 0: the denominators."""
        count = self.ranks.isfinite().sum(dim=1).double()
        return count.masked_fill(count == 0, torch.nan)

    def first_rank(self) -> Tensor:
        """The rank of the best positive."""
        return self.ranks[:, 0] + 0 * self.num_positives

    def average_precision(self) -> Tensor:
        """The mean over positives of i / r_i, the precision down to the i-th positive."""
        return self._precisions().sum(dim=1) / self.num_positives

    def average_precision_at_r(self) -> Tensor:
        """Average precision over the first R places, R being the query's own number of positives."""
        return (self._precisions() * self._within_r()).sum(dim=1) / self.num_positives

    def average_precision_at_k(self, k: int) -> Tensor:
        """Average precision over the first k places, divided by what can stand there: min(R, k)."""
        return (self._precisions() * (self.ranks <= k)).sum(dim=1) / self.num_positives.clamp_max(k)

    def precision_at_r(self) -> Tensor:
        """The share of positives among the first R places."""
        return self._within_r().sum(dim=1) / self.num_positives

    def precision_at_k(self, k: int) -> Tensor:
        """The share of positives among the first k places, of k however few positives there are."""
        return (self.ranks <= k).sum(dim=1) / k + 0 * self.num_positives

    def inverse_negative_penalty(self) -> Tensor:
        """R over the rank of the last positive. Source: Ye et al. 2021 (Deep Learning for Person Re-identification)."""
        last = self.ranks.masked_fill(self.ranks.isinf(), 0).amax(dim=1)
        return self.num_positives / last

    def _precisions(self) -> Tensor:
        # The i-th positive stands at rank r, so the precision there is i / r; it is 0 where r is inf.
        return torch.arange(1, self.ranks.shape[1] + 1, device=self.ranks.device) / self.ranks

    def _within_r(self) -> Tensor:
        return self.ranks <= self.num_positives[:, None]


def positive_ranks(scores: Tensor, positives: Tensor) -> PositiveRanks:
    """The ranks of each query's positives among all scores of its row.

    scores: (Q, G), without NaN; -inf puts an item behind all others. positives: (Q, R) gallery rows, -1 for none.
    An item's rank is 1 + the items with a greater score + the items with the same score and a lower row. For few
    positives the items ahead of each are counted; for many, one sort of the row's values serves them all.
    """
    if not positives.shape[1]:
        positives = positives.new_full((len(positives), 1), -1)
    missing = positives < 0
    at = positives.clamp_min(0)
    if positives.shape[1] > _COUNTED_POSITIVES:
        ranks = _settled(scores, at, missing, *_ahead_in_sorted_rows(scores, at))
    elif scores.device.type == "cpu":
        ranks = _counted_row_by_row(scores.numpy(), at.numpy(), missing.numpy())
    else:
        ranks = _settled(scores, at, missing, *_ahead_in_columns(scores, at))
    return PositiveRanks(ranks.double().masked_fill(missing, torch.inf).sort(dim=1).values)


def _counted_row_by_row(scores: np.ndarray, at: np.ndarray, missing: np.ndarray) -> Tensor:
    """One comparison of a row for each positive: numpy counts 30 times as fast as torch sums a mask."""
    ranks = np.ones(at.shape, dtype=np.int64)
    for query, place in zip(*np.nonzero(~missing)):
        row, own = scores[query], at[query, place]
        # Of equal items the lower rows are ahead.
        lower, higher = row[:own] >= row[own], row[own + 1 :] > row[own]
        ranks[query, place] += np.count_nonzero(lower) + np.count_nonzero(higher)
    return torch.from_numpy(ranks)


def _ahead_in_columns(scores: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """(Q, R) how many items have a greater score than each positive, and whether one has the same."""
    own = scores.gather(1, at)
    greater = torch.stack([(scores > column[:, None]).sum(dim=1) for column in own.unbind(dim=1)], dim=1)
    same = torch.stack([(scores == column[:, None]).sum(dim=1) for column in own.unbind(dim=1)], dim=1)
    return greater, same > 1


def _ahead_in_sorted_rows(scores: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """As `_ahead_in_columns`, from a sort of each row's values."""
    own = scores.gather(1, at)
    ordered = _sorted_rows(scores)
    up_to = torch.searchsorted(ordered, own, right=True)
    # Beneath an item's own value stands the same value again where another item ties with it.
    has_tie = (up_to > 1) & (ordered.gather(1, (up_to - 2).clamp_min(0)) == own)
    return scores.shape[1] - up_to, has_tie


def _settled(scores: Tensor, at: Tensor, missing: Tensor, greater: Tensor, has_tie: Tensor) -> Tensor:
    """(Q, R) ranks: a row in which a positive ties takes a stable sort."""
    ranks = 1 + greater
    for queries in (has_tie & ~missing).any(dim=1).nonzero()[:, 0].split(_TIED_AT_A_TIME):
        ranks[queries] = 1 + _places(scores[queries]).gather(1, at[queries])
    return ranks


def _sorted_rows(scores: Tensor) -> Tensor:
    if scores.device.type == "cpu":
        # torch also carries the indices, which takes five times as long and twelve bytes an item.
        return torch.from_numpy(np.sort(scores.numpy(), axis=1))
    return scores.sort(dim=1).values


def _places(scores: Tensor) -> Tensor:
    """(Q, G) the place of each item in its row's stable order, from 0."""
    # Adding 0.0 turns -0.0 into 0.0, which a radix sort would tell apart.
    order = (scores + 0.0).sort(dim=1, descending=True, stable=True).indices
    places = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)
