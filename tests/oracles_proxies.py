"""Slow, plain definitions of the losses over class proxies: loops in float64. Imports nothing of the package.

Legend: N rows, C classes, K proxies a class, D dimensions. Labels are -1 where there is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np


def gradient(function: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """The gradient by central differences of fourth order, in the shape of `at`."""
    slopes = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        values = []
        for distance in (-2, -1, 1, 2):
            moved = at.copy()
            moved[place] += distance * step
            values.append(function(moved))
        slopes[place] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
    return slopes


def arcface_logits(
    cosine: np.ndarray, labels: Sequence[int], margins: Sequence[float], scale: float, monotone: bool = True
) -> list[list[float]]:
    """margins: one a row. monotone: beyond pi go on in a straight line."""
    logits = [[scale * c for c in row] for row in cosine.tolist()]
    for row, label in enumerate(labels):
        if label == -1:
            continue
        angle = math.acos(cosine[row, label]) + margins[row]
        if angle <= math.pi or not monotone:
            logits[row][label] = scale * math.cos(angle)
        else:
            logits[row][label] = scale * (cosine[row, label] - margins[row] * math.sin(margins[row]))
    return logits


def cosface_logits(cosine: np.ndarray, labels: Sequence[int], margin: float, scale: float) -> list[list[float]]:
    return [
        [scale * (c - margin) if column == label else scale * c for column, c in enumerate(row)]
        for row, label in zip(cosine.tolist(), labels)
    ]


def circle_logits(
    cosine: np.ndarray, labels: Sequence[int], margin: float, scale: float, at: np.ndarray | None = None
) -> list[list[float]]:
    """at: the cosines that the factors are taken of, which have no gradient; the same ones by default."""
    factors = (cosine if at is None else at).tolist()
    logits = []
    for row, fixed, label in zip(cosine.tolist(), factors, labels):
        logits.append(
            [
                scale * max(0.0, 1 + margin - f) * (c - (1 - margin))
                if column == label
                else scale * max(0.0, f + margin) * (c - margin)
                for column, (c, f) in enumerate(zip(row, fixed))
            ]
        )
    return logits


def nearest(cosine: np.ndarray) -> np.ndarray:
    """(N, C, K) to (N, C), which stays as it is."""
    return cosine.max(axis=2) if cosine.ndim == 3 else cosine


def cross_entropy(logits: Sequence[Sequence[float]], labels: Sequence[int]) -> float:
    """The mean over the rows with a label; 0 without any."""
    costs = []
    for row, label in zip(logits, labels):
        if label != -1:
            largest = max(row)
            costs.append(largest - row[label] + math.log(math.fsum(math.exp(z - largest) for z in row)))
    return math.fsum(costs) / max(1, len(costs))


def class_margins(counts: Sequence[int], smallest: float, largest: float, power: float) -> list[float]:
    """For counts of which at least two differ and none is 0: a n^-power + b through the two ends."""
    rarest, most = min(counts) ** -power, max(counts) ** -power
    a = (largest - smallest) / (rarest - most)
    b = smallest - a * most
    return [a * count**-power + b for count in counts]


def cosines(vectors: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(N, D) and (C, K, D) to (N, C, K)."""
    return np.array(
        [
            [[float(x @ w) / math.sqrt(float(x @ x) * float(w @ w)) for w in of_class] for of_class in weight]
            for x in vectors
        ]
    )


def proxy_nca(vectors: np.ndarray, labels: Sequence[int], weight: np.ndarray, temperature: float) -> float:
    """From distances. weight: (C, D)."""
    costs = []
    for x, label in zip(vectors, labels):
        if label == -1:
            continue
        unit = x / np.linalg.norm(x)
        distances = [float(((unit - w / np.linalg.norm(w)) ** 2).sum()) for w in weight]
        near = [math.exp(-d / temperature) for d in distances]
        costs.append(-math.log(near[label] / sum(near)))
    return sum(costs) / max(1, len(costs))


def proxy_anchor(cosine: np.ndarray, labels: Sequence[int], margin: float, alpha: float) -> float:
    num_classes = cosine.shape[1]
    pulled, pushed = [], []
    for proxy in range(num_classes):
        own = [row for row, label in enumerate(labels) if label == proxy]
        others = [row for row, label in enumerate(labels) if label not in (proxy, -1)]
        if own:
            pulled.append(math.log(1 + sum(math.exp(-alpha * (cosine[row, proxy] - margin)) for row in own)))
        pushed.append(math.log(1 + sum(math.exp(alpha * (cosine[row, proxy] + margin)) for row in others)))
    return sum(pulled) / max(1, len(pulled)) + sum(pushed) / num_classes


def soft_triple(
    vectors: np.ndarray,
    labels: Sequence[int],
    weight: np.ndarray,
    scale: float,
    gamma: float,
    margin: float,
    tau: float,
) -> float:
    num_classes, num_centres, _ = weight.shape
    logits = []
    for of_row, label in zip(cosines(vectors, weight).tolist(), labels):
        row = []
        for name, of_class in enumerate(of_row):
            shares = [math.exp(c / gamma) for c in of_class]
            similarity = sum(share * c for share, c in zip(shares, of_class)) / sum(shares)
            row.append(scale * (similarity - margin * (name == label)))
        logits.append(row)
    distances = 0.0
    for centres in weight:
        units = [w / np.linalg.norm(w) for w in centres]
        for s in range(num_centres):
            for t in range(s + 1, num_centres):
                distances += math.sqrt(2 - 2 * float(units[s] @ units[t]))
    regulariser = distances / (num_classes * num_centres * (num_centres - 1)) if num_centres > 1 else 0.0
    return cross_entropy(logits, labels) + tau * regulariser


def center(vectors: np.ndarray, labels: Sequence[int], weight: np.ndarray) -> float:
    costs = []
    for x, label in zip(vectors, labels):
        if label != -1:
            costs.append(min(float(((x - w) ** 2).sum()) for w in weight[label]) / 2)
    return sum(costs) / max(1, len(costs))
