"""Post-processing of retrieval by plain loops over dense matrices, from the formulas. Imports nothing of ours."""

from __future__ import annotations

import numpy as np


def cosines(vectors: np.ndarray) -> np.ndarray:
    """(N, N) float64."""
    units = np.array([vector / np.sqrt((vector**2).sum()) for vector in vectors.astype(np.float64)])
    return units @ units.T


def ranked_lists(similarity: np.ndarray) -> list[list[int]]:
    """Of each row: itself, then all others by falling similarity, of equal ones the lower row."""
    size = len(similarity)
    return [
        [
            row,
            *sorted(
                (other for other in range(size) if other != row), key=lambda other: (-similarity[row, other], other)
            ),
        ]
        for row in range(size)
    ]


def expanded(vectors: np.ndarray, alpha: float, k: int) -> np.ndarray:
    """Each row's mean over its k nearest of cosine**alpha times the row; the first is itself, of cosine 1."""
    similarity = cosines(vectors)
    means = []
    for row, order in enumerate(ranked_lists(similarity)):
        terms = [vectors[row].astype(np.float64)]
        for other in order[1:k]:
            cosine = similarity[row, other]
            weight = cosine**alpha if cosine >= 0 or alpha == int(alpha) else 0.0
            terms.append(weight * vectors[other])
        means.append(np.mean(terms, axis=0))
    return np.array(means)


def k_reciprocal_weights(
    vectors: np.ndarray, k1: int, k2: int, normalize: bool, longest_list: int | None = None
) -> np.ndarray:
    """(N, N): the k-reciprocal encoding after the local query expansion.

    longest_list: how many neighbours, the vector itself among them, were searched for; None: all.
    """
    similarity = cosines(vectors)
    distance = 2 - 2 * similarity
    if normalize:
        distance = distance / distance.max(axis=1, keepdims=True)
    lists = [list(row)[:longest_list] for row in ranked_lists(similarity)]
    size = len(vectors)

    def reciprocal(row: int, k: int) -> set[int]:
        return {other for other in lists[row][: k + 1] if row in lists[other][: k + 1]}

    weights = np.zeros((size, size))
    for row in range(size):
        own = reciprocal(row, k1)
        members = set(own)
        for other in own:
            theirs = reciprocal(other, int(np.around(k1 / 2)))
            if len(theirs & own) > 2 / 3 * len(theirs):
                members |= theirs
        for member in members:
            weights[row, member] = np.exp(-distance[row, member])
        weights[row] /= weights[row].sum()
    return np.array([np.mean([weights[other] for other in lists[row][:k2]], axis=0) for row in range(size)])


def k_reciprocal_distances(
    query: np.ndarray, gallery: np.ndarray, k1: int, k2: int, lambda_: float, normalize: bool
) -> np.ndarray:
    """(Q, G) dense."""
    vectors = np.concatenate([query, gallery])
    similarity = cosines(vectors)
    original = 1 - similarity
    if normalize:
        original = (2 - 2 * similarity) / (2 - 2 * similarity).max(axis=1, keepdims=True)
    weights = k_reciprocal_weights(vectors, k1, k2, normalize)
    distances = np.zeros((len(query), len(gallery)))
    for row in range(len(query)):
        for place in range(len(gallery)):
            column = len(query) + place
            least = np.minimum(weights[row], weights[column]).sum()
            greatest = np.maximum(weights[row], weights[column]).sum()
            distances[row, place] = (1 - lambda_) * (1 - least / greatest) + lambda_ * original[row, column]
    return distances
