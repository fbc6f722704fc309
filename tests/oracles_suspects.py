"""Doubtful labels by plain loops: every image is judged by what is fitted anew without it. Imports nothing of ours."""

from __future__ import annotations

import numpy as np


def unit_vectors(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The labelled features, centred by all of them, each of length 1."""
    centred = features.astype(np.float64) - features.astype(np.float64).mean(axis=0)
    vectors = centred[labels >= 0]
    return np.array([vector / np.sqrt((vector**2).sum()) for vector in vectors])


def prototype_margin(vectors: np.ndarray, labels: np.ndarray, row: int) -> tuple[float, int]:
    """The best other class's cosine less the own class's, whose mean leaves the image out; and that other class."""
    cosines = {}
    for label in sorted(set(labels.tolist())):
        members = [vectors[other] for other in range(len(labels)) if labels[other] == label and other != row]
        if members:
            mean = np.mean(members, axis=0)
            cosines[label] = float(mean @ vectors[row] / np.linalg.norm(mean))
    return best_other_less_own(cosines, int(labels[row]))


def ridge_margin(vectors: np.ndarray, labels: np.ndarray, row: int, ridge: float) -> tuple[float, int]:
    """The same of the scores of a weighted ridge regression on one-hot labels with a free constant."""
    classes = sorted(set(labels.tolist()))
    weights = np.array([1 / np.sum(labels == label) for label in labels])
    centre = (weights[:, None] * vectors).sum(axis=0) / weights.sum()
    variance = np.mean((weights[:, None] * (vectors - centre) ** 2).sum(axis=0))
    dim = vectors.shape[1]
    design = np.hstack([vectors, np.ones((len(vectors), 1))])
    penalty = np.diag([ridge * variance] * dim + [0.0])
    rest = np.arange(len(labels)) != row
    normal = (design[rest] * weights[rest, None]).T @ design[rest] + penalty
    scores = {}
    for label in classes:
        target = (labels[rest] == label).astype(float)
        solution = np.linalg.solve(normal, (design[rest] * weights[rest, None]).T @ target)
        scores[label] = float(design[row] @ solution)
    return best_other_less_own(scores, int(labels[row]))


def best_other_less_own(scores: dict[int, float], own: int) -> tuple[float, int]:
    other = max((label for label in scores if label != own), key=lambda label: scores[label])
    return scores[other] - scores.get(own, 0.0), other


def parts(margins: np.ndarray) -> np.ndarray:
    scale = np.sqrt(np.mean(margins**2))
    return 1 / (1 + np.exp(-margins / scale))
