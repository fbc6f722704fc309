"""Slow, plain definitions of the softmax-type pair losses. Imports nothing of the package.

Legend: Q queries, M gallery rows, D embedding. Each is written as its formula is, by loops over queries and their
positives and negatives, in torch so that autograd gives the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """query: (Q, D), query_labels: (Q,), gallery: (M, D), gallery_labels: (M,), self_index: (Q,) gallery rows."""

    query: Tensor
    query_labels: Tensor
    gallery: Tensor
    gallery_labels: Tensor
    self_index: Tensor


class Query(NamedTuple):
    """A labelled row: its vector, its row in the gallery's vectors and the gallery rows that are P and N."""

    vector: Tensor
    gallery: Tensor
    positives: list[int]
    negatives: list[int]

    def similarity(self, row: int) -> Tensor:
        return self.vector @ self.gallery[row]

    def distance(self, row: int) -> Tensor:
        return (self.vector - self.gallery[row]).square().sum().clamp_min(1e-12).sqrt()


def queries(batch: Batch) -> Iterator[Query]:
    """The labelled queries of a batch."""
    gallery_labels = batch.gallery_labels.tolist()
    for vector, label, own in zip(batch.query, batch.query_labels.tolist(), batch.self_index.tolist()):
        if label != -1:
            rows = [row for row in range(len(gallery_labels)) if row != own and gallery_labels[row] != -1]
            positives = [row for row in rows if gallery_labels[row] == label]
            yield Query(vector, batch.gallery, positives, [row for row in rows if gallery_labels[row] != label])


def added(values: Sequence[Tensor], batch: Batch) -> Tensor:
    """Their sum, on the batch's graph also where there are none."""
    return sum(values, batch.query.sum() * 0 + batch.gallery.sum() * 0)


def mean(values: Sequence[Tensor], batch: Batch) -> Tensor:
    return added(values, batch) / max(1, len(values))


def nt_xent(batch: Batch, temperature: float = 0.07) -> Tensor:
    losses = []
    for q in queries(batch):
        against = added([torch.exp(q.similarity(n) / temperature) for n in q.negatives], batch)
        for p in q.positives:
            own = torch.exp(q.similarity(p) / temperature)
            losses.append(-torch.log(own / (own + against)))
    return mean(losses, batch)


def n_pair(batch: Batch, l2_weight: float = 0.0) -> Tensor:
    losses, squared_lengths = [], []
    for q in queries(batch):
        squared_lengths.append(q.vector.square().sum())
        for p in q.positives:
            behind = [torch.exp(q.similarity(n) - q.similarity(p)) for n in q.negatives]
            losses.append(torch.log(1 + added(behind, batch)))
    return mean(losses, batch) + l2_weight * mean(squared_lengths, batch)


def sup_con(batch: Batch, temperature: float = 0.1) -> Tensor:
    losses = []
    for q in queries(batch):
        others = [torch.exp(q.similarity(a) / temperature) for a in q.positives + q.negatives]
        logs = [torch.log(torch.exp(q.similarity(p) / temperature) / added(others, batch)) for p in q.positives]
        if logs:
            losses.append(-added(logs, batch) / len(logs))
    return mean(losses, batch)


def multi_similarity(
    batch: Batch,
    alpha: float = 2.0,
    beta: float = 50.0,
    base: float = 0.5,
    miner: str = "none",
    epsilon: float = 0.1,
) -> Tensor:
    losses = []
    for q in queries(batch):
        positives, negatives = mined(q, miner, epsilon)
        pull = [torch.exp(-alpha * (q.similarity(p) - base)) for p in positives]
        push = [torch.exp(beta * (q.similarity(n) - base)) for n in negatives]
        losses.append(torch.log(1 + added(pull, batch)) / alpha + torch.log(1 + added(push, batch)) / beta)
    return mean(losses, batch)


def mined(q: Query, miner: str, epsilon: float) -> tuple[list[int], list[int]]:
    if miner == "none":
        return q.positives, q.negatives
    to_positive = {p: float(q.similarity(p).detach()) for p in q.positives}
    to_negative = {n: float(q.similarity(n).detach()) for n in q.negatives}
    if miner == "hard":
        hardest_positive = [min(q.positives, key=to_positive.__getitem__)] if q.positives else []
        return hardest_positive, [max(q.negatives, key=to_negative.__getitem__)] if q.negatives else []
    assert miner == "multi_similarity", miner
    hardest_positive, hardest_negative = min(to_positive.values(), default=9), max(to_negative.values(), default=-9)
    return (
        [p for p in q.positives if to_positive[p] < hardest_negative + epsilon],
        [n for n in q.negatives if to_negative[n] > hardest_positive - epsilon],
    )


def circle(batch: Batch, margin: float = 0.25, scale: float = 128.0) -> Tensor:
    losses = []
    for q in queries(batch):
        pull, push = [], []
        for p in q.positives:
            s = q.similarity(p)
            pull.append(torch.exp(-scale * max(0.0, 1 + margin - float(s.detach())) * (s - (1 - margin))))
        for n in q.negatives:
            s = q.similarity(n)
            push.append(torch.exp(scale * max(0.0, float(s.detach()) + margin) * (s - margin)))
        losses.append(torch.log1p(added(pull, batch) * added(push, batch)))
    return mean(losses, batch)


def pair_cosface(batch: Batch, margin: float = 0.25, scale: float = 32.0) -> Tensor:
    losses = []
    for q in queries(batch):
        contrasts = [
            torch.exp(scale * (q.similarity(n) - q.similarity(p) + margin)) for p in q.positives for n in q.negatives
        ]
        losses.append(torch.log1p(added(contrasts, batch)))
    return mean(losses, batch)


def angular(batch: Batch, angle_deg: float = 40.0) -> Tensor:
    squared_tangent = math.tan(math.radians(angle_deg)) ** 2
    losses = []
    for q in queries(batch):
        for p in q.positives:
            together = q.vector + q.gallery[p]
            exponents = [
                4 * squared_tangent * (together @ q.gallery[n]) - 2 * (1 + squared_tangent) * q.similarity(p)
                for n in q.negatives
            ]
            losses.append(torch.log(1 + added([torch.exp(f) for f in exponents], batch)))
    return mean(losses, batch)


def ranked_list(
    batch: Batch,
    margin: float = 0.4,
    boundary: float = 1.2,
    negative_temperature: float = 10.0,
    positive_temperature: float = 0.0,
    balance: float = 0.5,
) -> Tensor:
    losses = []
    for q in queries(batch):
        far = [q.distance(p) - (boundary - margin) for p in q.positives if q.distance(p) > boundary - margin]
        near = [boundary - q.distance(n) for n in q.negatives if q.distance(n) < boundary]
        pull = weighted_mean(far, positive_temperature, batch)
        push = weighted_mean(near, negative_temperature, batch)
        losses.append((1 - balance) * pull + balance * push)
    return mean(losses, batch)


def weighted_mean(violations: list[Tensor], temperature: float, batch: Batch) -> Tensor:
    """With weights exp(temperature * violation) that have no gradient; 0 for none."""
    weights = [math.exp(temperature * float(violation.detach())) for violation in violations]
    return added([w * v for w, v in zip(weights, violations)], batch) / max(sum(weights), 1e-300)
