"""Slow, plain definitions of the long-tail losses. Imports nothing of the package.

Legend: B rows, C classes. A loss is a formula for one row, which goes through Python's scalars class by class. The
gradient is that of the complex step: the imaginary part of the formula at z + ih, divided by h.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Collection, Sequence

import numpy as np

Row = Sequence[complex]
RowLoss = Callable[[Row, int], complex]


def mean_over_rows(
    row_loss: RowLoss, logits: np.ndarray, labels: Sequence[int], weight: Sequence[float] | None = None
) -> tuple[float, np.ndarray]:
    """Value and gradient (B, C) of sum_n w_y l_n / sum_n w_y. Rows labelled -1 are no rows at all."""
    h = 1e-40
    total, total_weight, gradient = 0.0, 0.0, np.zeros(np.shape(logits))
    for row, label in enumerate(labels):
        if label == -1:
            continue
        w = 1.0 if weight is None else weight[label]
        z = [complex(value) for value in logits[row]]
        total += w * complex(row_loss(z, label)).real
        total_weight += w
        for c in range(len(z)):
            stepped = [value + 1j * h if k == c else value for k, value in enumerate(z)]
            gradient[row, c] = w * complex(row_loss(stepped, label)).imag / h
    return (total / total_weight, gradient / total_weight) if total_weight else (0.0, gradient)


def cross_entropy(z: Row, label: int) -> complex:
    return cmath.log(sum(cmath.exp(value) for value in z)) - z[label]


def focal(z: Row, label: int, gamma: float) -> complex:
    surprise = cross_entropy(z, label)
    return (1 - cmath.exp(-surprise)) ** gamma * surprise


def ldam(cosines: Row, label: int, counts: Sequence[int], max_margin: float, scale: float) -> complex:
    margins = [n**-0.25 for n in counts]
    margin = max_margin * margins[label] / max(margins)
    z = [scale * (value - margin) if c == label else scale * value for c, value in enumerate(cosines)]
    return cross_entropy(z, label)


def balanced_softmax(z: Row, label: int, counts: Sequence[int]) -> complex:
    return -cmath.log(counts[label] * cmath.exp(z[label]) / sum(n * cmath.exp(v) for n, v in zip(counts, z)))


def logit_adjusted(z: Row, label: int, counts: Sequence[int], tau: float) -> complex:
    return cross_entropy([value + tau * math.log(n / sum(counts)) for n, value in zip(counts, z)], label)


def cdt(z: Row, label: int, counts: Sequence[int], gamma: float) -> complex:
    return cross_entropy([value / (max(counts) / n) ** gamma for n, value in zip(counts, z)], label)


def softmax_eql(z: Row, label: int, dropped: Collection[int]) -> complex:
    """dropped: the classes that are missing in the denominator."""
    return cmath.log(sum(cmath.exp(value) for c, value in enumerate(z) if c not in dropped)) - z[label]


def label_aware_smoothing(z: Row, label: int, epsilon: Sequence[float]) -> complex:
    """epsilon: (C,), what the target of each class gives away."""
    away = epsilon[label] / (len(z) - 1)
    return sum((1 - epsilon[label] if c == label else away) * cross_entropy(z, c) for c in range(len(z)))


def smoothing(counts: Sequence[int], head: float, tail: float, shape: str, exponent: float = 2.0) -> list[float]:
    """eps of each class, in the form of the paper."""
    least, most = min(counts), max(counts)
    epsilon = []
    for n in counts:
        x = (n - least) / (most - least)
        if shape == "concave":
            epsilon.append(tail + (head - tail) * math.sin(math.pi * (n - least) / (2 * (most - least))))
        elif shape == "linear":
            epsilon.append(tail + (head - tail) * x)
        elif shape == "convex":
            epsilon.append(head + (head - tail) * math.sin(1.5 * math.pi + math.pi * x / 2))
        elif shape == "exp":
            epsilon.append(tail + (head - tail) * x**exponent)
        else:
            raise AssertionError(shape)
    return epsilon
