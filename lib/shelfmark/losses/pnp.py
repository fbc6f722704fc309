"""PNP: penalise the negatives before each positive. Legend: N batch, D embedding; `ahead` is the formulas' N."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from shelfmark.core.errors import did_you_mean
from shelfmark.losses.checks import require_positive
from shelfmark.losses.loss import option
from shelfmark.losses.ranking import RankingLoss
from shelfmark.ops.soft_rank import RankScore

VARIANTS = ("O", "I_u", "I_b", "D_s", "D_q")


@dataclass(frozen=True)
class PNP(RankingLoss):
    """Mean over queries and their positives of f(N), with N the soft number of negatives that rank before the positive.

    variant     f(N)                        f'(N)
    O           N                           1
    I_u         (1 + N) ln(1 + N)           1 + ln(1 + N)
    I_b         (b N - ln(1 + b N)) / b^2   N / (1 + b N)
    D_s         ln(1 + N)                   1 / (1 + N)
    D_q         1 - (1 + N)^-alpha          alpha (1 + N)^(-alpha - 1)

    Source: Li et al., "Rethinking the Optimization of Average Precision: Only Penalizing Negative
    Instances before Positive Ones is Enough", AAAI 2022.
    """

    variant: str = option(
        "D_q",
        "penalty for N negatives that rank before a positive. O: N. I_u: (1 + N) ln(1 + N). I_b: (b N -"
        " ln(1 + b N)) / b^2. D_s: ln(1 + N). D_q: 1 - (1 + N)^-alpha. Other spellings such as PNP-D_q and"
        " Dq work too",
    )
    temperature: float = option(
        0.01,
        "temperature of the sigmoid that stands for the comparison of two similarities. The smaller, the"
        " nearer to true ranks; above 0",
    )
    alpha: float = option(1.0, "for variant=D_q: the larger, the sooner the penalty levels off; above 0")
    b: float = option(
        2.0, "for variant=I_b: the slope of the penalty rises to 1 / b; 0 or above. 0: the penalty is N^2 / 2"
    )
    include_self: bool = option(
        False,
        "whether each image is also a positive of itself, so that every image is a query, as in the authors' code",
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "variant", _variant(self.variant))
        require_positive("temperature", self.temperature)
        require_positive("alpha", self.alpha)
        if not (math.isfinite(self.b) and self.b >= 0):
            raise ValueError(f"b={self.b} must be a finite number, 0 or above: I_b of a negative b has no value")

    @property
    def score(self) -> RankScore:
        """The variant's f and f'."""
        scores: dict[str, _Penalty] = {
            "O": _Linear(),
            "I_u": _Unbounded(),
            "I_b": _Bounded(self.b),
            "D_s": _Slow(),
            "D_q": _Quick(self.alpha),
        }
        return scores[self.variant]


def _variant(text: str) -> str:
    """The variant that `PNP-D_q`, `D_q`, `dq` ... means."""
    by_short_name = {variant.replace("_", "").lower(): variant for variant in VARIANTS}
    short_name = text.lower().removeprefix("pnp").replace("-", "").replace("_", "")
    if short_name not in by_short_name:
        close = did_you_mean(short_name, by_short_name)
        hint = f" Did you mean {by_short_name[close]!r}?" if close else ""
        raise ValueError(f"variant={text!r} is not one of: {', '.join(VARIANTS)}.{hint}")
    return by_short_name[short_name]


class _Penalty:
    """f and f' of the number of negatives ahead; the rank among the positives plays no part."""

    uses_rank = False
    needs_negatives = True

    def penalty(self, ahead: Tensor) -> Tensor:
        raise NotImplementedError

    def slope(self, ahead: Tensor) -> Tensor:
        raise NotImplementedError

    def value(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> Tensor:
        return self.penalty(ahead)

    def slopes(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> tuple[Tensor, Tensor]:
        return self.slope(ahead), torch.zeros_like(rank)


class _Linear(_Penalty):
    def penalty(self, ahead: Tensor) -> Tensor:
        return ahead

    def slope(self, ahead: Tensor) -> Tensor:
        return torch.ones_like(ahead)


class _Unbounded(_Penalty):
    def penalty(self, ahead: Tensor) -> Tensor:
        return (1 + ahead) * ahead.log1p()

    def slope(self, ahead: Tensor) -> Tensor:
        return 1 + ahead.log1p()


@dataclass(frozen=True)
class _Bounded(_Penalty):
    b: float

    def penalty(self, ahead: Tensor) -> Tensor:
        # (bN - ln(1 + bN)) / b^2 = N^2 g(bN) with g(x) = (x - ln(1 + x)) / x^2, which is 1/2 at 0.
        x = self.b * ahead
        is_small = x < 0.05
        # The difference loses all digits at small x: there its series 1/2 - x/3 + x^2/4 - ...
        series = sum((-x) ** power / (power + 2) for power in range(9))
        beyond = torch.where(is_small, 1, x)
        return ahead.square() * torch.where(is_small, series, (beyond - beyond.log1p()) / beyond.square())

    def slope(self, ahead: Tensor) -> Tensor:
        return ahead / (1 + self.b * ahead)


class _Slow(_Penalty):
    def penalty(self, ahead: Tensor) -> Tensor:
        return ahead.log1p()

    def slope(self, ahead: Tensor) -> Tensor:
        return 1 / (1 + ahead)


@dataclass(frozen=True)
class _Quick(_Penalty):
    alpha: float

    def penalty(self, ahead: Tensor) -> Tensor:
        return -torch.expm1(-self.alpha * ahead.log1p())

    def slope(self, ahead: Tensor) -> Tensor:
        return self.alpha * torch.exp((-self.alpha - 1) * ahead.log1p())
