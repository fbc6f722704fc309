"""Slow, plain definitions of losses that contrast rows with rows and classes at once. Imports nothing of the package.

Legend: Q queries, M gallery rows, C classes. Loops over scalar tensors, so that autograd gives the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Rows(NamedTuple):
    """logits: (Q, C). query: (Q, D). gallery: (M, D), whose first Q rows are the queries. labels: -1 for none."""

    logits: Tensor
    query: Tensor
    query_labels: Sequence[int]
    gallery: Tensor
    gallery_labels: Sequence[int]


def gpaco(
    rows: Rows,
    counts: Sequence[float],
    alpha: float = 0.05,
    beta: float = 1.0,
    temperature: float = 0.2,
    center_temperature: float = 1.0,
) -> Tensor:
    losses = []
    for row, label in enumerate(rows.query_labels):
        if label == -1:
            continue
        # Each entry of the softmax, with the weight that its logarithm has.
        entries: list[tuple[Tensor, float]] = []
        for c, count in enumerate(counts):
            share = max(count, 1) / sum(counts)
            entries.append(((rows.logits[row, c] + math.log(share)) / center_temperature, beta if c == label else 0.0))
        for other, other_label in enumerate(rows.gallery_labels):
            if other != row and other_label != -1:
                similarity = rows.query[row] @ rows.gallery[other]
                entries.append((similarity / temperature, alpha if other_label == label else 0.0))
        whole = sum(torch.exp(value) for value, _ in entries)
        logs = [weight * torch.log(torch.exp(value) / whole) for value, weight in entries]
        losses.append(-sum(logs) / sum(weight for _, weight in entries))
    nothing = 0 * (rows.logits.sum() + rows.query.sum() + rows.gallery.sum())
    return sum(losses, nothing) / max(1, len(losses))
