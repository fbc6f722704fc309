"""Training images whose label is in doubt, from stored features. Legend: N images, C classes, D embedding.

Two methods judge each image without its own label: the means of the classes, and a ridge classifier. Both fail if the
network has memorised the wrong labels, so judge the features of a short or well regularised training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.ops.similarity import dot_products

WEAK_BELOW = 0.7
"""An accuracy of the judges below which most proposals may be false alarms; measured, see docs/definitions.md."""

_BLOCK_SCORES = 2**24


@dataclass(frozen=True, eq=False)
class Suspects:
    """The evidence against each image's label; all (N,), in the order of the features.

    labels: as given, -1 for none. judged: bool, False for an image without a label and for the only image of a class:
    without evidence, its scores are 0 and its suggestion is its label.
    prototype, confidence: 0..1, the scores of the two judges. Above 0.5 another class fits better; 0.73 is a margin of
    typical size. suspicion: the mean of both. suggested: the best other class, by the judge with the higher score.
    agreed: both judges name that class.
    """

    labels: np.ndarray
    judged: np.ndarray
    prototype: np.ndarray
    confidence: np.ndarray
    suggested: np.ndarray
    agreed: np.ndarray

    @property
    def suspicion(self) -> np.ndarray:
        return (self.prototype + self.confidence) / 2

    @property
    def accuracy(self) -> float:
        """The share of judged images to which the better judge, without their label, gives their class; 0 without any.

        A low share means a weak embedding, or many wrong labels.
        """
        if not self.judged.any():
            return 0.0
        return max(float((scores[self.judged] <= 0.5).mean()) for scores in (self.prototype, self.confidence))

    @property
    def ranking(self) -> np.ndarray:
        """(number judged,) int64: the images, most suspicious first, equal ones in their order."""
        order = np.argsort(-self.suspicion, kind="stable")
        return order[self.judged[order]]


def find_suspects(
    features: np.ndarray,
    labels: np.ndarray,
    ridge: float = 0.1,
    device: torch.device | str = "cpu",
) -> Suspects:
    """Judges every labelled image by all the others.

    features: (N, D); moved to mean 0 and scaled to length 1. labels: (N,) int64, -1 for none.
    prototype: cosine with the best other class's mean less the cosine with the own class's mean without this image.
    confidence: the same difference between the scores of a ridge classifier fitted without this image, exactly, by
    the closed form of leave-one-out; in it each class weighs the same, and `ridge` is in units of the features' mean
    variance. Each difference d becomes 1 / (1 + exp(-d / s)), s their root mean square over the judged images.
    """
    labels = np.asarray(labels)
    _require_fit(features, labels, ridge)
    rows = np.flatnonzero(labels >= 0)
    # A class without an image has no evidence for itself: only the others are numbered.
    classes, numbers = np.unique(labels[rows], return_inverse=True)
    vectors = _Vectors(features, rows, len(classes), torch.device(device))
    own = torch.from_numpy(numbers).to(vectors.device)
    counts = torch.bincount(own)
    sums, gram = _sums(vectors, own, counts)
    judges = (_Prototypes(sums).against, _RidgeClassifier(sums, gram, counts, ridge).against)
    judged = np.zeros(len(labels), dtype=bool)
    judged[rows] = (counts[own] > 1).cpu().numpy()
    margins, suggested = np.zeros((2, len(labels))), np.tile(labels, (2, 1))
    for block, part in vectors.blocks():
        for judge, against in enumerate(judges):
            margin, other = against(part, own[block])
            margins[judge, rows[block]] = margin.cpu().numpy()
            suggested[judge, rows[block]] = classes[other.cpu().numpy()]
    prototype, confidence = (_part(margin, judged) for margin in margins)
    best = np.where(prototype >= confidence, suggested[0], suggested[1])
    agreed = judged & (suggested[0] == suggested[1])
    return Suspects(labels, judged, prototype, confidence, np.where(judged, best, labels), agreed)


def images_to_leave(suspects: Suspects, keep_accuracy: float = 0.92, min_suspicion: float = 0.7) -> np.ndarray:
    """(N,) bool: the images to remove from their class, by a cautious rule.

    A class keeps all its images if the classifier is right on at least `keep_accuracy` of them. Otherwise it loses the
    images on which the classifier is wrong and whose suspicion is `min_suspicion` or more, but never its last image.
    Source: the keep rule of gujingxiao's AliProducts 2020 solution, which has no min_suspicion (0.5 is nearly that).
    """
    wrong = suspects.judged & (suspects.confidence > 0.5)
    labelled = suspects.labels >= 0
    num_classes = int(suspects.labels.max(initial=0)) + 1
    counts = np.bincount(suspects.labels[labelled], minlength=num_classes)
    num_wrong = np.bincount(suspects.labels[wrong], minlength=num_classes)
    is_doubtful = num_wrong > (1 - keep_accuracy) * counts + 1e-9
    leaves = wrong & is_doubtful[suspects.labels] & (suspects.suspicion >= min_suspicion)
    lost = np.bincount(suspects.labels[leaves], minlength=num_classes) == counts
    least_suspicious = suspects.ranking[::-1]
    classes, first = np.unique(suspects.labels[least_suspicious], return_index=True)
    leaves[least_suspicious[first[lost[classes]]]] = False
    return leaves


class _Vectors:
    """The labelled rows of the features, block by block: centred, of length 1, float32 on `device`."""

    def __init__(self, features: np.ndarray, rows: np.ndarray, num_classes: int, device: torch.device) -> None:
        self.features, self.rows, self.device = features, rows, device
        self.block_rows = max(1, _BLOCK_SCORES // max(num_classes, features.shape[1]))
        self.centre = np.mean(features, axis=0, dtype=np.float64)
        if not np.isfinite(self.centre).all():
            raise UserError("the features hold NaN or infinity; make them again with a model that has not diverged.")

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, len(self.rows), self.block_rows):
            block = slice(start, start + self.block_rows)
            centred = torch.from_numpy(self.features[self.rows[block]] - self.centre).to(self.device)
            yield block, torch.nn.functional.normalize(centred, dim=1).float()


class _Prototypes:
    """Judges by the cosine with the mean of each class."""

    def __init__(self, sums: Tensor) -> None:
        self.sums = sums
        self.means = torch.nn.functional.normalize(sums, dim=1).float()

    def against(self, vectors: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """(n,) the best other class's cosine less that of the own class without the image, and (n,) that class."""
        others = self.sums[own] - vectors
        own_cosine = (vectors * torch.nn.functional.normalize(others, dim=1)).sum(dim=1)
        best, label = _best_other(dot_products(vectors, self.means), own)
        return best - own_cosine, label


class _RidgeClassifier:
    """Judges by the scores of least squares on one-hot labels, each class of weight 1, fitted without the image."""

    def __init__(self, sums: Tensor, gram: Tensor, counts: Tensor, ridge: float) -> None:
        self.weights = 1 / counts.double()
        self.total = len(counts)
        self.centre = self.weights @ sums / self.total
        covariance = gram - self.total * torch.outer(self.centre, self.centre)
        penalty = (ridge * covariance.diagonal().mean()).clamp_min(1e-12)
        self.inverse = torch.linalg.inv(covariance + penalty * torch.eye(len(gram)).to(gram))
        self.weight = ((sums * self.weights[:, None] - self.centre) @ self.inverse).float()

    def against(self, vectors: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """(n,) the best other class's score less that of the own class, and (n,) that class."""
        centred = vectors - self.centre
        leverage = self.weights[own] * (((centred @ self.inverse) * centred).sum(dim=1) + 1 / self.total)
        scores = dot_products(centred.float(), self.weight) + 1 / self.total
        own_score = scores.gather(1, own[:, None])[:, 0]
        best, label = _best_other(scores, own)
        # Without the image, every score is (score - leverage * target) / (1 - leverage).
        return (best - own_score + leverage) / (1 - leverage).clamp_min(1e-9), label


def _sums(vectors: _Vectors, own: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of each class's vectors (C, D), and the second moments (D, D) with each class of weight 1; float64."""
    dim = vectors.features.shape[1]
    sums = torch.zeros(len(counts), dim, dtype=torch.float64, device=vectors.device)
    gram = torch.zeros(dim, dim, dtype=torch.float64, device=vectors.device)
    for block, part in vectors.blocks():
        exact = part.double()
        sums.index_add_(0, own[block], exact)
        gram += (exact / counts[own[block], None]).T @ exact
    return sums, gram


def _best_other(scores: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    best = scores.scatter(1, own[:, None], -torch.inf).max(dim=1)
    return best.values, best.indices


def _part(margin: np.ndarray, judged: np.ndarray) -> np.ndarray:
    scale = np.sqrt(np.mean(margin[judged] ** 2)) if judged.any() else 1.0
    return np.where(judged, 1 / (1 + np.exp(-margin / (scale or 1.0))), 0.0)


def _require_fit(features: np.ndarray, labels: np.ndarray, ridge: float) -> None:
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(f"features {features.shape} and labels {labels.shape} do not fit as (N, D) and (N,)")
    if not ridge > 0:
        raise ValueError(f"ridge={ridge} must be above 0")
    if len(np.unique(labels[labels >= 0])) < 2:
        raise UserError("suspects are found by comparing classes, but fewer than two classes have an image.")
