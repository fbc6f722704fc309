"""Risk against coverage: what share of the answers is wrong if the surest pictures alone are answered.

Legend: N pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

_POINTS = 100


@dataclass(frozen=True, eq=False)
class Curve:
    """(n,) each: the pictures answered, the share of all that they are, the share of them that is wrong, and the
    threshold at which it is so. Coverage rises."""

    num_answers: np.ndarray
    coverage: np.ndarray
    risk: np.ndarray
    at_least: np.ndarray


def curve(scores: np.ndarray, is_right: np.ndarray) -> Curve:
    """The curve of N pictures, at a hundred points at most. scores: (N,), -inf: never answered. is_right: (N,) bool."""
    order = np.argsort(-scores, kind="stable")
    values, wrong = scores[order], np.cumsum(~is_right[order])
    # Pictures with one score are answered together.
    ends = np.flatnonzero(np.append(values[1:] < values[:-1], True)) if len(values) else np.empty(0, np.int64)
    ends = ends[np.isfinite(values[ends])]
    if len(ends) > _POINTS:
        ends = ends[np.unique(np.linspace(0, len(ends) - 1, _POINTS).astype(int))]
    num_answers = ends + 1
    return Curve(num_answers, num_answers / max(1, len(values)), wrong[ends] / num_answers, values[ends])


def rows(curves: Mapping[tuple[str, str], Curve]) -> Iterator[dict[str, float | int | str]]:
    """A row of the table for each point. curves: (score, bucket) -> its curve."""
    for (score, bucket), one in curves.items():
        for number, coverage, risk, least in zip(one.num_answers, one.coverage, one.risk, one.at_least):
            yield {
                "score": score,
                "bucket": bucket,
                "num_answers": int(number),
                "coverage": float(coverage),
                "risk": float(risk),
                "at_least": float(least),
            }
