"""What the classifier and the index say about photographs, side by side.

Legend: Q photographs, D embedding, C classes, K neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from shelfmark.calibration.promise.rules import Evidence
from shelfmark.core.errors import UserError
from shelfmark.predictions.joined import combined
from shelfmark.retrieval import Neighbours
from shelfmark.retrieval.index import Index
from shelfmark.runtime.trained_model import TrainedModel

_BLOCK_PHOTOS = 256


@dataclass(frozen=True)
class SearchSettings:
    """How `recognise` joins the two: k neighbours, whose votes weigh `weight`, by a softmax of this temperature."""

    k: int = 10
    weight: float = 0.5
    temperature: float = 0.1

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UserError(f"--k {self.k}: ask for at least one neighbour.")
        if not 0 <= self.weight <= 1:
            raise UserError(
                f"--weight {self.weight:g} is not within 0 (the classifier alone) and 1 (the neighbours alone)."
            )
        if not 0 < self.temperature < float("inf"):
            raise UserError(
                f"--temperature {self.temperature:g} must be above 0, and finite; near 0 only the nearest image votes."
            )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, eq=False)
class JointAnswers:
    """labels: (C,) those of the model, then those that only the index knows. classifier, votes, joined: (Q, C). energy:
    (Q,) log-sum-exp of the logits. rows: (Q, K) of the index, -1 for none; neighbour_labels, neighbour_scores: (Q, K).

    Without an index the last three have no column, and `joined` is the classifier's.
    """

    labels: np.ndarray
    classifier: np.ndarray
    votes: np.ndarray
    joined: np.ndarray
    energy: np.ndarray
    rows: np.ndarray
    neighbour_labels: np.ndarray
    neighbour_scores: np.ndarray
    has_index: bool

    def evidence(self, row: int) -> Evidence:
        """What rules decide by, for one of the photographs."""
        own, energy = self.classifier[row], float(self.energy[row])
        if not self.has_index:
            return Evidence(self.labels, own, energy)
        near = self.neighbour_labels[row], self.neighbour_scores[row]
        return Evidence(self.labels, own, energy, self.joined[row], *near)


def joint_answers(
    model: TrainedModel,
    index: Index | None,
    features: np.ndarray,
    settings: SearchSettings,
    among: np.ndarray | None = None,
) -> JointAnswers:
    """The answers for features (Q, D), by the model and, if there is one, by an index that shares its classes.

    among: (n,) rows of the index, the only ones that are searched; None for all.
    """
    with torch.inference_mode():
        logits = model.network.logits(torch.from_numpy(features).to(model.precision.device))
        own = logits.softmax(dim=1).cpu().numpy()
        energy = logits.double().logsumexp(dim=1).cpu().numpy()
    near = None
    if index is not None:
        near = index.search(features, min(settings.k, len(index) if among is None else len(among)), among)
    return joined(own, energy, near, None if index is None else index.records.labels, settings)


def joined(
    own: np.ndarray,
    energy: np.ndarray,
    near: Neighbours[np.ndarray] | None,
    labels_of_rows: np.ndarray | None,
    settings: SearchSettings,
) -> JointAnswers:
    """The answers of the classifier's probabilities own (Q, C) and energy (Q,), and of neighbours (Q, K) in an index.

    labels_of_rows: of the index. Both are None without one.
    """
    if near is None or labels_of_rows is None:
        nothing = np.empty((len(own), 0))
        no_rows = nothing.astype(np.int64)
        labels, wide = np.arange(own.shape[1]), own.astype(np.float64)
        return JointAnswers(labels, own, np.zeros_like(wide), wide, energy, no_rows, no_rows, nothing, False)
    width = int((near.ids >= 0).sum(axis=1).max(initial=0))
    scores, rows = near.scores[:, :width].astype(np.float64), near.ids[:, :width]
    voted = np.where(rows >= 0, labels_of_rows[rows], -1)
    labels, both, votes = combined(own, scores, voted, settings.weight, settings.temperature)
    classifier = np.pad(own, [(0, 0), (0, len(labels) - own.shape[1])])
    return JointAnswers(labels, classifier, votes, both, energy, rows, voted, scores, True)


def joint_blocks(
    model: TrainedModel,
    index: Index | None,
    features: np.ndarray,
    settings: SearchSettings,
    among: np.ndarray | None = None,
) -> Iterator[tuple[slice, JointAnswers]]:
    """As `joint_answers` for many features (Q, D), block by block, with the rows of each block."""
    for start in range(0, len(features), _BLOCK_PHOTOS):
        block = slice(start, min(start + _BLOCK_PHOTOS, len(features)))
        yield block, joint_answers(model, index, np.asarray(features[block]), settings, among)
