"""Slow, plain definitions of what experts learn by. Imports nothing of the package.

Legend: B rows, E experts, C classes. Formulas go through Python's scalars, expert by expert and class by class. The
gradient is that of the complex step: the imaginary part of the formula at z + ih, divided by h.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence

import numpy as np

H = 1e-40


def temperatures(counts: Sequence[int], temperature: float, count_share: float) -> list[float]:
    mean = sum(counts) / len(counts)
    balance = [count_share * n / mean + (1 - count_share) for n in counts]
    return [temperature * b / max(balance) for b in balance]


def softmax(z: Sequence[complex]) -> list[complex]:
    exponentials = [cmath.exp(value) for value in z]
    return [value / sum(exponentials) for value in exponentials]


def kl(p: Sequence[complex], q: Sequence[complex]) -> complex:
    return sum(a * (cmath.log(a) - cmath.log(b)) for a, b in zip(p, q))


def diversity_of_row(z: Sequence[Sequence[complex]], scale: Sequence[float]) -> complex:
    """Minus the mean over the experts of KL from the mean of their probabilities."""
    p = [softmax([value / t for value, t in zip(expert, scale)]) for expert in z]
    mean = [sum(column) / len(p) for column in zip(*p)]
    return -sum(kl(one, mean) for one in p) / len(p)


def expert_diversity(
    logits: np.ndarray, labels: Sequence[int], counts: Sequence[int], temperature: float, count_share: float
) -> tuple[float, np.ndarray]:
    """Value and gradient (B, E, C). Rows labelled -1 are no rows at all."""
    scale = temperatures(counts, temperature, count_share)
    rows = [row for row, label in enumerate(labels) if label != -1]
    total, gradient = 0.0, np.zeros(logits.shape)
    for row in rows:
        z = [[complex(value) for value in expert] for expert in logits[row]]
        total += complex(diversity_of_row(z, scale)).real
        for e, c in np.ndindex(*logits.shape[1:]):
            z[e][c] += 1j * H
            gradient[row, e, c] = complex(diversity_of_row(z, scale)).imag / H
            z[e][c] -= 1j * H
    return (total / len(rows), gradient / len(rows)) if rows else (0.0, gradient)


def reversed_shares(counts: Sequence[int]) -> list[float]:
    """Of counts that are all different: each class's share once the order of the classes by size is turned round."""
    ordered = sorted(counts)
    return [ordered[len(counts) - 1 - ordered.index(n)] / sum(counts) for n in counts]


def inverse_softmax(z: Sequence[complex], label: int, counts: Sequence[int], strength: float) -> complex:
    """-ln of the label's part of sum_c e^z_c pi_c / rho_c^strength."""
    factors = [n / sum(counts) / rho**strength for n, rho in zip(counts, reversed_shares(counts))]
    terms = [cmath.exp(value) * factor for value, factor in zip(z, factors)]
    return -cmath.log(terms[label] / sum(terms))


def stability(first: np.ndarray, second: np.ndarray, shares: Sequence[float]) -> float:
    """The mean cosine of the two views' class probabilities. first, second: (B, E, C) logits of the experts."""
    cosines = []
    for views in zip(first, second):
        p, q = (
            [value.real for value in softmax([sum(w * z for w, z in zip(shares, column)) for column in view.T])]
            for view in views
        )
        dot = sum(a * b for a, b in zip(p, q))
        cosines.append(dot / math.sqrt(sum(a * a for a in p)) / math.sqrt(sum(b * b for b in q)))
    return sum(cosines) / len(cosines)
