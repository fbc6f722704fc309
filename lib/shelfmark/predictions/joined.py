"""The classifier's probabilities and the votes of neighbours, in one.

Legend: Q photographs, C classes, K neighbours.
"""

from __future__ import annotations

import numpy as np


def combined(
    probabilities: np.ndarray, scores: np.ndarray, labels: np.ndarray, weight: float, temperature: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(labels,), (Q, labels) combined probabilities, and (Q, labels) the neighbours' part of them.

    The labels are those of the model, then those that only the index knows.
    p = (1 - weight) softmax + weight vote; a label's vote is the sum of softmax(score / temperature) over its images
    among the K neighbours. probabilities (Q, C): the classifier's. scores, labels (Q, K): of the neighbours; one
    whose label is -1 does not vote, and where none votes the classifier decides alone.
    Source: Khandelwal et al. 2020, equation 3; with similarities, as in Tip-Adapter (Zhang et al. 2022).
    """
    num_queries, num_classes = probabilities.shape
    new = np.unique(labels[labels >= num_classes])
    columns = np.where(labels < num_classes, labels, num_classes + np.searchsorted(new, labels))
    votes_cast = labels >= 0
    logits = np.where(votes_cast, scores / temperature, -np.inf)
    best = logits.max(axis=1, keepdims=True, initial=-np.inf)
    shares = np.exp(logits - np.where(np.isfinite(best), best, 0))
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    vote = np.zeros((num_queries, num_classes + len(new)))
    np.add.at(vote, (np.arange(num_queries)[:, None], np.where(votes_cast, columns, 0)), shares)
    own = np.pad(probabilities.astype(np.float64), [(0, 0), (0, len(new))])
    weights = weight * votes_cast.any(axis=1, keepdims=True)
    return np.concatenate([np.arange(num_classes), new]), (1 - weights) * own + weights * vote, vote
