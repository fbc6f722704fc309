"""Slow, plain definitions that the tests compare with. Imports nothing of the package.

Here: ranking losses, cross-entropy, metrics. Beside it, a file a family: oracles_pairs, oracles_softmax,
oracles_proxies, oracles_contrast, oracles_longtail, oracles_calibration.

Legend: B rows, G rows a class, C classes. Ranking losses are loops over (query, positive, row) in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

# --- ranking losses: closed formulas, loops, numpy float64 ---


def step(u: float) -> float:
    """1 / (1 + exp(-u)), with u clipped to -50..50."""
    return 1 / (1 + math.exp(min(max(-u, -50.0), 50.0)))


def step_slope(u: float) -> float:
    """The step's derivative: 0 beyond the clip, not on it."""
    return math.exp(-u) / (1 + math.exp(-u)) ** 2 if -50 <= u <= 50 else 0.0


def pnp_penalty(variant: str, ahead: float, alpha: float = 1.0, b: float = 2.0) -> tuple[float, float]:
    """f(N) and f'(N), by the table of the paper."""
    if variant == "O":
        return ahead, 1.0
    if variant == "I_u":
        return (1 + ahead) * math.log(1 + ahead), 1 + math.log(1 + ahead)
    if variant == "I_b":
        if b * ahead < 1e-3:
            return ahead**2 / 2 - b * ahead**3 / 3 + b**2 * ahead**4 / 4, ahead / (1 + b * ahead)
        return (b * ahead - math.log(1 + b * ahead)) / b**2, ahead / (1 + b * ahead)
    if variant == "D_s":
        return math.log(1 + ahead), 1 / (1 + ahead)
    if variant == "D_q":
        return -math.expm1(-alpha * math.log1p(ahead)), alpha * (1 + ahead) ** (-alpha - 1)
    raise AssertionError(variant)


def pnp(
    embedding: np.ndarray,
    labels: Sequence[int],
    variant: str,
    temperature: float = 0.01,
    alpha: float = 1.0,
    b: float = 2.0,
    include_self: bool = False,
) -> tuple[float, np.ndarray]:
    """Value and gradient (B, D)."""

    def penalty(ahead: float, rank: float, num_positives: int) -> tuple[float, float, float]:
        return *pnp_penalty(variant, ahead, alpha, b), 0.0

    return soft_rank(embedding, labels, temperature, include_self, penalty)


def smooth_ap(
    embedding: np.ndarray, labels: Sequence[int], temperature: float = 0.01, include_self: bool = False
) -> tuple[float, np.ndarray]:
    """Value and gradient (B, D)."""

    def penalty(ahead: float, rank: float, num_positives: int) -> tuple[float, float, float]:
        return ahead / (rank + ahead), rank / (rank + ahead) ** 2, -ahead / (rank + ahead) ** 2

    return soft_rank(embedding, labels, temperature, include_self, penalty)


def recall_at_k(
    embedding: np.ndarray,
    labels: Sequence[int],
    ks: Sequence[int],
    temperature: float,
    rank_temperature: float,
    include_self: bool = False,
) -> tuple[float, np.ndarray]:
    """Value and gradient (B, D) of 1 - the mean over k of the smooth Recall@k."""

    def penalty(ahead: float, rank: float, num_positives: int) -> tuple[float, float, float]:
        value, slope = 1.0, 0.0
        for k in ks:
            share = num_positives / min(k, num_positives) / len(ks)
            inside = 1 / (1 + math.exp(min((ahead + rank - k) / rank_temperature, 700)))
            value -= share * inside
            slope += share * inside * (1 - inside) / rank_temperature
        return value, slope, slope

    return soft_rank(embedding, labels, temperature, include_self, penalty)


def soft_rank(
    embedding: np.ndarray,
    labels: Sequence[int],
    temperature: float,
    include_self: bool,
    penalty: Callable[[float, float, int], tuple[float, float, float]],
) -> tuple[float, np.ndarray]:
    """Value and gradient of the mean over queries of the mean over positives of `penalty(N, R, |P|)`.

    penalty: its value and its derivatives by N and R. Rows labelled -1 are no rows at all.
    """
    x = np.asarray(embedding, dtype=np.float64)
    rows = [row for row in range(len(labels)) if labels[row] != -1]
    similarity = x @ x.T
    positives = {q: [i for i in rows if labels[i] == labels[q] and (include_self or i != q)] for q in rows}
    queries = [q for q in rows if positives[q]]
    by_similarity = np.zeros_like(similarity)
    total = 0.0
    for q in queries:
        weight = 1 / (len(queries) * len(positives[q]))
        negatives = [j for j in rows if labels[j] != labels[q]]
        for i in positives[q]:
            others = [j for j in positives[q] if j != i]
            u = {j: (similarity[q, j] - similarity[q, i]) / temperature for j in negatives + others}
            ahead = sum(step(u[j]) for j in negatives)
            rank = 1 + sum(step(u[j]) for j in others)
            value, by_ahead, by_rank = penalty(ahead, rank, len(positives[q]))
            total += weight * value
            for group, by_count in ((negatives, by_ahead), (others, by_rank)):
                for j in group:
                    slope = weight * by_count * step_slope(u[j]) / temperature
                    by_similarity[q, j] += slope
                    by_similarity[q, i] -= slope
    return total, (by_similarity + by_similarity.T) @ x


# --- ranking losses: the form over all triples of contiguous classes of G rows, torch autograd ---


def grouped_steps(embedding: Tensor, temperature: float) -> Tensor:
    """step[q, i, j]: how far row j stands before row i in the ranking of q; (B, B, B)."""
    similarity = embedding @ embedding.T
    u = (similarity[:, None, :] - similarity[:, :, None]) / temperature
    return 1 / (1 + torch.exp(torch.clamp(-u, -50, 50)))


def grouped_smooth_ap(embedding: Tensor, group_size: int, temperature: float) -> Tensor:
    """1 - (1 / B G) sum of Rp / Ra; every row ranks itself too."""
    num_rows = len(embedding)
    steps = grouped_steps(embedding, temperature) * (1 - torch.eye(num_rows, dtype=embedding.dtype))
    total = embedding.new_zeros(())
    for query in range(num_rows):
        start = query // group_size * group_size
        group = slice(start, start + group_size)
        among_positives = 1 + steps[query, group, group].sum(1)
        among_all = 1 + steps[query, group, :].sum(1)
        total = total + (among_positives / among_all).sum()
    return 1 - total / (num_rows * group_size)


def grouped_pnp(
    embedding: Tensor, group_size: int, variant: str, temperature: float, alpha: float = 1.0, b: float = 2.0
) -> Tensor:
    """(1 / B G) sum of f(N); every row is its own positive too."""
    num_rows = len(embedding)
    penalties = {
        "O": lambda n: n,
        "I_u": lambda n: (1 + n) * torch.log(1 + n),
        "I_b": lambda n: (b * n - torch.log(1 + b * n)) / b**2,
        "D_s": lambda n: torch.log(1 + n),
        "D_q": lambda n: 1 - (1 + n) ** (-alpha),
    }
    group = torch.arange(num_rows) // group_size
    steps = grouped_steps(embedding, temperature) * (group[:, None] != group).to(embedding.dtype)
    ahead = steps.sum(2)
    counted = (group[:, None] == group).to(embedding.dtype)
    return (penalties[variant](ahead) * counted).sum() / (num_rows * group_size)


# --- classification ---


def cross_entropy(
    logits: np.ndarray,
    labels: Sequence[int],
    label_smoothing: float = 0.0,
    smoothing_form: str = "uniform",
    weight: Sequence[float] | None = None,
) -> tuple[float, np.ndarray]:
    """Value and gradient (B, C): targets written out row by row. Rows labelled -1 are no rows at all."""
    z = np.asarray(logits, dtype=np.float64)
    num_classes = z.shape[1]
    w = np.ones(num_classes) if weight is None else np.asarray(weight, dtype=np.float64)
    total, total_weight, gradient = 0.0, 0.0, np.zeros_like(z)
    for row, label in enumerate(labels):
        if label == -1:
            continue
        p = np.exp(z[row] - z[row].max())
        p /= p.sum()
        target = np.zeros(num_classes)
        for c in range(num_classes):
            if smoothing_form == "uniform":
                target[c] = label_smoothing / num_classes + (1 - label_smoothing) * (c == label)
            else:
                target[c] = 1 - label_smoothing if c == label else label_smoothing / (num_classes - 1)
        total -= sum(target[c] * w[c] * math.log(p[c]) for c in range(num_classes))
        total_weight += w[label]
        for c in range(num_classes):
            for k in range(num_classes):
                gradient[row, c] -= target[k] * w[k] * ((k == c) - p[c])
    return (total / total_weight, gradient / total_weight) if total_weight else (0.0, gradient)
