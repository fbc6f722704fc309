"""What a soft-rank loss makes of the place of one positive."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class RankScore(Protocol):
    """A smooth penalty for the place of a positive in its query's ranking, elementwise.

    ahead: the soft number of negatives before the positive, >= 0.
    rank: its soft rank among the query's positives, >= 1.
    num_positives: how many positives the query has, >= 1; a number, or a tensor that broadcasts.
    """

    @property
    def uses_rank(self) -> bool:
        """Whether the penalty depends on `rank`; where not, `rank` is ones and costs nothing."""

    @property
    def needs_negatives(self) -> bool:
        """Whether the penalty is 0 at any rank where no negative is ahead.

        A query whose gallery holds no negative is then not computed.
        """

    def value(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> Tensor:
        """The penalty; differentiable by autograd, for `reference`."""

    def slopes(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> tuple[Tensor, Tensor]:
        """The penalty's derivatives by `ahead` and by `rank`."""
