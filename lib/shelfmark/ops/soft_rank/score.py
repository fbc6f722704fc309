"""What a soft-rank loss makes of the place of one positive."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class RankScore(Protocol):
    """A smooth penalty for the place of a positive in its query's ranking, elementwise.

    ahead: the soft number of negatives before the positive, >= 0.
    rank: its soft rank among the query's positives, >= 1.
    Where no negative is ahead, the penalty must be 0 whatever the rank: a query whose gallery holds no negative
    is left uncomputed.
    """

    @property
    def uses_rank(self) -> bool:
        """Whether the penalty depends on `rank`; where not, `rank` is ones and costs nothing."""

    def value(self, ahead: Tensor, rank: Tensor) -> Tensor:
        """The penalty; differentiable by autograd, for the reference twin."""

    def slopes(self, ahead: Tensor, rank: Tensor) -> tuple[Tensor, Tensor]:
        """The penalty's derivatives by `ahead` and by `rank`."""
