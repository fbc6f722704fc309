"""The checks of the numbers in annotations. What they notice goes into `Findings`, with the index of the record.

Each looks at a whole column first, and goes through it record by record only where something is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from shelfmark.data import findings as problem
from shelfmark.data.findings import Findings
from shelfmark.data.record_fields import NO_INTEGER


def checked_range(
    name: str, values: np.ndarray, num_classes: int, beyond: Mapping[tuple[str, int], int], findings: Findings
) -> np.ndarray:
    """(N,) int64 labels of a column of integers, -1 for none; those outside 0..num_classes-1 are reported.

    beyond: what the file has in place of numbers of more than 63 bits, by field and record.
    """
    is_missing = values == NO_INTEGER
    for index in np.flatnonzero(((values < 0) | (values >= num_classes)) & ~is_missing).tolist():
        value = beyond.get((name, index), int(values[index]))
        findings.error(index, problem.CATEGORY_RANGE, f"{name}={value}, allowed 0..{num_classes - 1}")
    return np.where(is_missing, -1, values)


def checked_weights(values: np.ndarray | None, findings: Findings) -> np.ndarray | None:
    """(N,) float32, 1 for none; weights that are negative or not finite are reported."""
    if values is None:
        return None
    weights = _narrow(np.where(np.isnan(values), 1.0, values))
    for index in np.flatnonzero(~(np.isfinite(weights) & (weights >= 0))).tolist():
        findings.error(index, problem.WEIGHT_RANGE, f"weight={values[index]}, wanted a finite number from 0")
    return weights


def checked_confidence(values: np.ndarray | None, findings: Findings) -> np.ndarray | None:
    """(N,) float32, NaN for none; a number that is too large for 32 bits is reported."""
    if values is None:
        return None
    confidence = _narrow(values)
    for index in np.flatnonzero(np.isinf(confidence)).tolist():
        findings.error(index, problem.CONFIDENCE_RANGE, f"confidence={values[index]}, wanted a finite number")
    return confidence


def _narrow(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return values.astype(np.float32)
