"""Slow, plain definitions for calibration: loops in float64. Imports nothing of the package.

Legend: N images, C classes, D embedding, B bins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from scipy.optimize import minimize


def softmax(logits: np.ndarray) -> np.ndarray:
    """(N, C)"""
    rows = []
    for row in np.asarray(logits, dtype=np.float64):
        powers = [math.exp(value - max(row)) for value in row]
        rows.append([power / sum(powers) for power in powers])
    return np.array(rows)


def bin_of(confidence: float, num_bins: int) -> int:
    """The b with b / B < confidence <= (b + 1) / B, edges as float64; 0 for a confidence of 0."""
    for place in range(num_bins):
        if confidence <= float(Fraction(place + 1, num_bins)):
            return place
    raise AssertionError(confidence)


def expected_calibration_error(probabilities: np.ndarray, labels: Sequence[int], num_bins: int) -> float:
    """Rows with label -1 are left out."""
    known = [(row, label) for row, label in zip(probabilities, labels) if label >= 0]
    total = 0.0
    for place in range(num_bins):
        inside = [(row, label) for row, label in known if bin_of(float(max(row)), num_bins) == place]
        if inside:
            accuracy = sum(int(np.argmax(row)) == label for row, label in inside) / len(inside)
            confidence = sum(float(max(row)) for row, _ in inside) / len(inside)
            total += len(inside) / len(known) * abs(accuracy - confidence)
    return total


def nearest_mean_scores(
    train: np.ndarray, labels: Sequence[int], test: np.ndarray, num_classes: int, form: str
) -> np.ndarray:
    """(n, C) negative squared distances; -inf for a class without images. Rows with label -1 are left out."""
    train = np.asarray([row for row, label in zip(train, labels) if label >= 0], dtype=np.float64)
    labels = [label for label in labels if label >= 0]
    centre = sum(train) / len(train) if form == "centred_l2" else np.zeros(train.shape[1])

    def normalized(row: np.ndarray) -> np.ndarray:
        moved = row - centre
        length = math.sqrt(sum(moved**2))
        return moved if form == "plain" or length == 0 else moved / length

    scores = np.full((len(test), num_classes), -np.inf)
    for label in range(num_classes):
        own = [normalized(row) for row, other in zip(train, labels) if other == label]
        if own:
            mean = sum(own) / len(own)
            for place, row in enumerate(np.asarray(test, dtype=np.float64)):
                scores[place, label] = -sum((normalized(row) - mean) ** 2)
    return scores


def adjusted(logits: np.ndarray, counts: Sequence[float], tau: float) -> np.ndarray:
    """(N, C) z_c - tau ln(n_c / N); an empty class has the least count above 0."""
    least = min(count for count in counts if count > 0)
    total = sum(counts)
    return np.array([[z - tau * math.log(max(n, least) / total) for z, n in zip(row, counts)] for row in logits])


def mean_class_accuracy(logits: np.ndarray, labels: Sequence[int]) -> float:
    """The mean over the classes that have images."""
    accuracies = []
    for label in sorted(set(labels)):
        own = [int(np.argmax(row)) == label for row, other in zip(logits, labels) if other == label]
        accuracies.append(sum(own) / len(own))
    return sum(accuracies) / len(accuracies)


def mean_nll(logits: np.ndarray, labels: Sequence[int], temperature: float = 1.0) -> float:
    """The mean of -ln p of the label, p by softmax of logits / temperature."""
    total = 0.0
    for row, label in zip(np.asarray(logits, dtype=np.float64) / temperature, labels):
        total += max(row) + math.log(sum(math.exp(value - max(row)) for value in row)) - row[label]
    return total / len(labels)


def best_temperature(logits: np.ndarray, labels: Sequence[int], low: float = 1e-3, high: float = 1e3) -> float:
    """The least nll between the bounds, by golden sections of ln T."""
    golden = (math.sqrt(5) - 1) / 2
    left, right = math.log(low), math.log(high)
    while right - left > 1e-7:
        inner_left, inner_right = right - golden * (right - left), left + golden * (right - left)
        if mean_nll(logits, labels, math.exp(inner_left)) < mean_nll(logits, labels, math.exp(inner_right)):
            right = inner_right
        else:
            left = inner_left
    return math.exp((left + right) / 2)


def balanced_nll(logits: np.ndarray, labels: Sequence[int]) -> float:
    """The mean over classes of the mean nll of a class's images."""
    of_classes = []
    for label in sorted(set(labels)):
        own = [row for row, other in zip(logits, labels) if other == label]
        of_classes.append(mean_nll(np.array(own), [label] * len(own)))
    return sum(of_classes) / len(of_classes)


def best_scales(logits: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """(C,) scales of the least `balanced_nll` of scales * logits."""
    logits = np.asarray(logits, dtype=np.float64)

    def loss(scales: np.ndarray) -> tuple[float, np.ndarray]:
        value, slopes = _balanced_nll_and_slopes(scales * logits, labels)
        return value, np.sum(slopes * logits, axis=0)

    return minimize(loss, np.ones(logits.shape[1]), jac=True, method="BFGS").x


def best_linear(features: np.ndarray, labels: Sequence[int], num_classes: int) -> np.ndarray:
    """(N, C) logits of the linear classifier with the least `balanced_nll`."""
    inputs = np.concatenate([np.asarray(features, dtype=np.float64), np.ones((len(features), 1))], axis=1)

    def loss(weight: np.ndarray) -> tuple[float, np.ndarray]:
        value, slopes = _balanced_nll_and_slopes(inputs @ weight.reshape(num_classes, -1).T, labels)
        return value, (slopes.T @ inputs).ravel()

    weight = minimize(loss, np.zeros(num_classes * inputs.shape[1]), jac=True, method="BFGS").x
    return inputs @ weight.reshape(num_classes, -1).T


def _balanced_nll_and_slopes(logits: np.ndarray, labels: Sequence[int]) -> tuple[float, np.ndarray]:
    labels = np.asarray(labels)
    share = np.array([1 / (len(set(labels.tolist())) * np.sum(labels == label)) for label in labels])
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    value = -np.sum(share * np.log(probabilities[np.arange(len(labels)), labels]))
    return value, share[:, None] * (probabilities - np.eye(logits.shape[1])[labels])


def resampled_scores(hits: Sequence[bool], labels: Sequence[int], resamples: int, seed: int) -> np.ndarray:
    """(R, 2) top1 and mean class accuracy of images drawn with replacement."""
    generator = np.random.RandomState(seed)
    rows = []
    for _ in range(resamples):
        drawn = generator.choice(len(hits), size=len(hits))
        by_class: dict[int, list[bool]] = {}
        for row in drawn:
            by_class.setdefault(labels[row], []).append(hits[row])
        rows.append((np.mean([hits[row] for row in drawn]), np.mean([np.mean(own) for own in by_class.values()])))
    return np.array(rows)


def resampled_gains(
    hits: Sequence[Sequence[bool]],
    baseline: Sequence[Sequence[bool]],
    labels: Sequence[int],
    resamples: int,
    seed: int,
) -> np.ndarray:
    """(R,) mean over the runs of the difference in mean class accuracy, each resample the same images for all."""
    generator = np.random.RandomState(seed)
    rows = []
    for _ in range(resamples):
        drawn = generator.choice(len(labels), size=len(labels))
        present = sorted({labels[row] for row in drawn})
        differences = []
        for ours, theirs in zip(hits, baseline):
            scores = []
            for run in (ours, theirs):
                of_class = {label: [run[row] for row in drawn if labels[row] == label] for label in present}
                scores.append(sum(sum(own) / len(own) for own in of_class.values()) / len(present))
            differences.append(scores[0] - scores[1])
        rows.append(sum(differences) / len(differences))
    return np.array(rows)
