"""What a new model must reach: `mean_class_accuracy >= -0.5%`, `top1 >= 80%`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from shelfmark.core.errors import UserError, choose
from shelfmark.core.score_names import score_name

_FORM = re.compile(r"\s*(?P<score>[^\s<>=]+)\s*(?P<sign>>=|<=)\s*(?P<number>[-+]?\s*[0-9]*\.?[0-9]+)\s*(?P<unit>%?)\s*")
_AT_K = re.compile(r"recall@[1-9][0-9]*")
_ROUNDING = 1e-9
"""Shares of equal counts may differ in their last digit: 0.7 - 0.695 is below 0.005."""

_HOW = (
    "Write SCORE >= PERCENT or SCORE <= PERCENT. A number with a sign is the difference from the first run:"
    " 'mean_class_accuracy >= -0.5%'. One without a sign is the score itself: 'top1 >= 80%'."
)


@dataclass(frozen=True)
class Requirement:
    """text: as it was written. bound: a share of 1. is_difference: the bound is on the score less the baseline's."""

    text: str
    score: str
    is_at_least: bool
    bound: float
    is_difference: bool

    @classmethod
    def of(cls, text: str, scores: Iterable[str]) -> Requirement:
        """Parsed. scores: those that can be asked for, besides recall@K. UserError: it is not of the form, or of none
        of the scores."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise UserError(f"--require {text!r} is no requirement. {_HOW}")
        score, number = found["score"], found["number"].replace(" ", "")
        if _AT_K.fullmatch(score) is None:
            choose("the score of --require", score, [*scores, "recall@K"])
        if not found["unit"]:
            share = f", or {_as_percent(number)}%" if abs(float(number)) <= 1 else ""
            raise UserError(f"--require {text!r}: the number is in percent. Write {number}%{share}.")
        bound, is_difference = float(number) / 100, number[0] in "+-"
        if not is_difference and bound > 1:
            raise UserError(f"--require {text!r}: no score is above 100%.")
        if is_difference and abs(bound) > 1:
            raise UserError(f"--require {text!r}: two scores differ by at most 100%.")
        return cls(" ".join(text.split()), score, found["sign"] == ">=", bound, is_difference)

    def is_met(self, value: float | None) -> bool:
        """value: the score, or its difference from the baseline; what has no value is not met."""
        if value is None or math.isnan(value):
            return False
        return value >= self.bound - _ROUNDING if self.is_at_least else value <= self.bound + _ROUNDING

    def interval_told(self, low: float | None, high: float | None) -> str:
        """How the 95% interval of the value lies to the bound, in a few words."""
        if low is None or high is None:
            return "there is no interval"
        inside = self.is_met(low), self.is_met(high)
        between = f"the 95% interval, {_told(low, self.is_difference)} to {_told(high, self.is_difference)},"
        if all(inside):
            return f"{between} lies wholly within the requirement"
        return f"{between} {'reaches beyond' if any(inside) else 'lies wholly outside'} the requirement"

    def judged(self, value: float | None, low: float | None, high: float | None) -> str:
        """One sentence on the value."""
        what = score_name(self.score)
        if value is None or math.isnan(value):
            return f"{what} has no value here, so the requirement is not met"
        change = " differs from the first run's by" if self.is_difference else " is"
        return f"{what}{change} {_told(value, self.is_difference)}; {self.interval_told(low, high)}"


def _as_percent(number: str) -> str:
    text = f"{100 * float(number):g}"
    return f"+{text}" if number.startswith("+") else text


def _told(value: float, has_sign: bool) -> str:
    return f"{100 * value:+.2f} points" if has_sign else f"{100 * value:.2f}%"
