"""Slow, plain definitions of the contrastive, triplet and lifted structured losses and of their miners.

Imports nothing of the package. Legend: Q queries, M gallery rows. The losses are loops over pairs and triplets of
scalar tensors, so that autograd gives their gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """query: (Q, D). gallery: (M, D). self_index: (Q,) each query's row in the gallery."""

    query: Tensor
    query_labels: Sequence[int]
    gallery: Tensor
    gallery_labels: Sequence[int]
    self_index: Sequence[int]

    @classmethod
    def of_batch(cls, x: Tensor, labels: Sequence[int]) -> Rows:
        return cls(x, labels, x, labels, range(len(labels)))

    def sides(self) -> Iterator[tuple[int, list[int], list[int]]]:
        """Each labelled query with its positives and its negatives."""
        for i, label in enumerate(self.query_labels):
            if label == -1:
                continue
            others = [j for j in range(len(self.gallery_labels)) if j != self.self_index[i]]
            positives = [j for j in others if self.gallery_labels[j] == label]
            negatives = [j for j in others if self.gallery_labels[j] not in (-1, label)]
            yield i, positives, negatives

    def closeness(self, kind: str) -> Tensor:
        """(Q, M): `dot`, or a distance: euclidean, squared_euclidean, cosine."""
        if kind in ("dot", "cosine"):
            products = (self.query[:, None] * self.gallery).sum(2)
            return products if kind == "dot" else 2 - 2 * products
        squared = (self.query[:, None] - self.gallery).square().sum(2).clamp(min=1e-12)
        return squared if kind == "squared_euclidean" else squared.sqrt()


def _mean(losses: list[Tensor], rows: Rows) -> Tensor:
    return torch.stack(losses).mean() if losses else rows.query.sum() * 0


def contrastive(
    rows: Rows, distance: str, positive_margin: float, negative_margin: float, miner: str = "none", **options: float
) -> Tensor:
    value = rows.closeness(distance)
    sign = -1 if distance == "dot" else 1
    positive_pairs, negative_pairs = mined(rows, miner, **options)
    pulls = [sign * (value[pair] - positive_margin) for pair in positive_pairs]
    pushes = [sign * (negative_margin - value[pair]) for pair in negative_pairs]
    return sum(_mean([loss for loss in losses if loss > 0], rows) for losses in (pulls, pushes))


def triplet(rows: Rows, margin: float, mining: str, distance: str, seed: int = 0, step: int = 0) -> Tensor:
    d = rows.closeness(distance)
    differences = []
    for i, positives, negatives in rows.sides():
        if not positives or not negatives:
            continue
        if mining == "all":
            differences += [d[i, p] - d[i, n] for p in positives for n in negatives]
        elif mining == "hard":
            differences.append(max(d[i, p] for p in positives) - min(d[i, n] for n in negatives))
        elif mining == "soft":
            pull = sum(d[i, p] * d[i, p].exp() for p in positives) / sum(d[i, p].exp() for p in positives)
            push = sum(d[i, n] * (-d[i, n]).exp() for n in negatives) / sum((-d[i, n]).exp() for n in negatives)
            differences.append(pull - push)
        elif mining == "semihard":
            differences += [d[i, p] - d[i, semihard_negative(d[i], p, negatives)] for p in positives]
        else:
            drawn = drawn_negatives(rows, i, len(positives), negatives, seed, step)
            differences += [d[i, p] - d[i, n] for p, n in zip(positives, drawn)]
    if margin == 0:
        return _mean([(1 + difference.exp()).log() for difference in differences], rows)
    losses = [(margin + difference).clamp(min=0) for difference in differences]
    return _mean([loss for loss in losses if mining != "all" or loss > 0], rows)


def semihard_negative(distance: Tensor, positive: int, negatives: Sequence[int]) -> int:
    farther = [n for n in negatives if distance[n] > distance[positive]]
    return min(farther, key=lambda n: distance[n]) if farther else max(negatives, key=lambda n: distance[n])


def lifted_structure(rows: Rows, margin: float) -> Tensor:
    d = rows.closeness("euclidean")
    among_gallery = Rows(rows.gallery, [], rows.gallery, [], []).closeness("euclidean")
    losses = []
    for i, positives, negatives in rows.sides():
        for j in positives if negatives else []:
            pushes = [(margin - d[i, n]).exp() + (margin - among_gallery[j, n]).exp() for n in negatives]
            losses.append((d[i, j] + sum(pushes).log()).clamp(min=0) ** 2 / 2)
    return _mean(losses, rows)


# --- miners ---

Pair = tuple[int, int]


def mined(rows: Rows, miner: str, epsilon: float = 0.1, seed: int = 0, step: int = 0) -> tuple[list[Pair], list[Pair]]:
    """The pairs (query, positive) and (query, negative) that are kept."""
    s = rows.closeness("dot").detach()
    kept_positives, kept_negatives = [], []
    for i, positives, negatives in rows.sides():
        kept, against = positives, negatives
        if miner == "hard":
            kept = [min(positives, key=lambda p: s[i, p])] if positives else []
            against = [max(negatives, key=lambda n: s[i, n])] if negatives else []
        elif miner == "multi_similarity":
            kept = [p for p in positives if negatives and s[i, p] < max(s[i, n] for n in negatives) + epsilon]
            against = [n for n in negatives if positives and s[i, n] > min(s[i, p] for p in positives) - epsilon]
        elif miner == "semihard":
            against = sorted({semihard_negative(-s[i], p, negatives) for p in positives if negatives})
        elif miner == "distance_weighted":
            against = sorted(set(drawn_negatives(rows, i, len(positives), negatives, seed, step)))
        kept_positives += [(i, p) for p in kept]
        kept_negatives += [(i, n) for n in against]
    return kept_positives, kept_negatives


def drawn_negatives(rows: Rows, i: int, num_draws: int, negatives: Sequence[int], seed: int, step: int) -> list[int]:
    if not negatives:
        return []
    weights = distance_weights(rows.closeness("euclidean")[i, list(negatives)].tolist(), rows.query.shape[1])
    drawn = []
    for place in range(num_draws):
        aim = uniform(seed, step, rows.self_index[i], place) * sum(weights)
        drawn.append(next(n for k, n in enumerate(negatives) if sum(weights[: k + 1]) > aim))
    return drawn


def distance_weights(distances: Sequence[float], dim: int) -> list[float]:
    """1 / q(d) between the cut-offs 0.5 and 1.4; all alike where none is below 1.4."""

    def weight(d: float) -> float:
        near = max(d, 0.5)
        return 0.0 if d >= 1.4 else near ** (2 - dim) * (1 - near**2 / 4) ** ((3 - dim) / 2)

    weights = [weight(d) for d in distances]
    return weights if sum(weights) else [1.0] * len(distances)


# --- random numbers without a generator ---


def split_mix_64(state: int, place: int) -> int:
    """The number at `place`, from 0, of SplitMix64 seeded with `state`: Java's SplittableRandom."""
    bits = (state + (place + 1) * 0x9E3779B97F4A7C15) % 2**64
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB % 2**64
    return bits ^ (bits >> 31)


def uniform(seed: int, step: int, row: int, place: int) -> float:
    bits = seed
    for part in (step, row, place):
        bits = split_mix_64(bits, part)
    return math.ldexp(bits >> 11, -53)
