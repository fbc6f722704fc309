"""What a file in fewer bits loses, beside the file in fp32. Legend: N pictures, C classes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.export.predict import Predictor

_PASSES, _TRIALS = 20, 3
SLACK = 0.01
"""On another machine the file in fewer bits may lose as many more pictures, as a share of all: its sums are rounded
otherwise there."""

FEW_AGREE = 0.95
"""Where fewer images keep their class, a warning says so."""


def row_of_table(
    precision: str, file: Path, predictor: Predictor, measured: dict[str, Any], top1: np.ndarray, labels: np.ndarray
) -> dict[str, Any]:
    """A row of the table: bytes, milliseconds a picture, and scores. top1, labels: (N,); a label is -1 for none."""
    known = labels >= 0
    is_right = top1[known] == labels[known]
    return {
        "precision": precision,
        "bytes": file.stat().st_size,
        "latency_ms": latency_ms(predictor),
        "top1": float(is_right.mean()) if known.any() else None,
        "mean_class_error": _mean_class_error(is_right, labels[known]),
        "recall@1": measured["recall@1"],
        "top1_agreement": measured["top1_agreement"],
    }


def latency_ms(predictor: Predictor) -> float:
    """The milliseconds of a pass of one picture, with all cores: the best mean of three trials."""
    pixels = np.random.default_rng(0).integers(0, 256, (1, *predictor.facts["input"]["size_px"], 3), dtype=np.uint8)
    predictor.run(pixels)
    trials = []
    for _ in range(_TRIALS):
        start = time.perf_counter()
        for _ in range(_PASSES):
            predictor.run(pixels)
        trials.append((time.perf_counter() - start) / _PASSES)
    return 1000 * min(trials)


def _mean_class_error(is_right: np.ndarray, labels: np.ndarray) -> float | None:
    """1 less the mean over classes of their accuracy."""
    if not len(labels):
        return None
    _, place, count = np.unique(labels, return_inverse=True, return_counts=True)
    return float(1 - np.mean(np.bincount(place, weights=is_right) / count))
