"""From the model's outputs to the JSON of an answer. Legend: Q photographs, D embedding, C classes, K neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from shelfmark.calibration.promise.promise import Promise
from shelfmark.predictions.answers import answered, candidate, decided, unpromised
from shelfmark.retrieval import Neighbours
from shelfmark.runtime.joint_answers import JointAnswers, SearchSettings, joined
from shelfmark.runtime.thresholds_file import search_settings
from shelfmark.serving.batcher import Outputs
from shelfmark.serving.gallery import Gallery
from shelfmark.serving.models import EMBEDDING, LOGITS, Model

NUM_CANDIDATES = 5
MOST_NEIGHBOURS = 100


class Answerer:
    """Answers of one model, of a gallery where there is one, and by the rules of a promise. Several threads may ask.

    settings: how classifier and gallery are joined: those of the promise, or what `shelfmark recognise` takes by
    itself.
    """

    def __init__(self, model: Model, gallery: Gallery | None, promise: Promise | None) -> None:
        self.model, self.gallery, self.promise = model, gallery, promise
        self.settings = SearchSettings() if promise is None else search_settings(promise)

    def recognised(self, outputs: Outputs, k: int) -> list[dict[str, Any]]:
        """The answers for Q pictures, in the form of `predictions.answers`; with a gallery k `neighbours` of each."""
        own, energy = _softmax(outputs[LOGITS])
        near = None if self.gallery is None else self.gallery.nearest(outputs[EMBEDDING], self.settings.k)
        found = self._joined(own, energy, near)
        answers = [self._answer(found, row) for row in range(len(own))]
        if self.gallery is not None and near is not None:
            # A search of its own: the first of many, of an approximate index, need not be those that vote.
            shown = near if k <= self.settings.k else self.gallery.nearest(outputs[EMBEDDING], k)
            for answer, scores, rows in zip(answers, shown.scores, shown.ids):
                answer["neighbours"] = self.gallery.neighbours(scores[:k], rows[:k])
        return answers

    def nearest(self, outputs: Outputs, k: int) -> list[list[dict[str, Any]]]:
        """The k neighbours of each of Q pictures. Only with a gallery."""
        assert self.gallery is not None
        near = self.gallery.nearest(outputs[EMBEDDING], k)
        return [self.gallery.neighbours(scores, rows) for scores, rows in zip(near.scores, near.ids)]

    def _joined(self, own: np.ndarray, energy: np.ndarray, near: Neighbours[np.ndarray] | None) -> JointAnswers:
        if self.gallery is None or near is None or not self.gallery.shares_classes:
            return joined(own, energy, None, None, self.settings)
        return joined(own, energy, near, self.gallery.index.records.labels, self.settings)

    def _answer(self, found: JointAnswers, row: int) -> dict[str, Any]:
        best = np.argsort(-found.joined[row], kind="stable")[:NUM_CANDIDATES]
        candidates = [self._candidate(found, row, place) for place in best]
        if self.promise is None:
            return unpromised(answered("", candidates))
        decision = self.promise.decide(found.evidence(row))
        names = {label: self._name(label) or "" for label in decision.members}
        return decided("", decision, candidates, names, self.promise.as_json())

    def _candidate(self, found: JointAnswers, row: int, place: int) -> dict[str, Any]:
        label = int(found.labels[place])
        more: Mapping[str, Any] = {}
        if self.gallery is not None and found.has_index:
            parts = {"classifier": float(found.classifier[row, place]), "neighbours": float(found.votes[row, place])}
            more = {**parts, "picture": self.gallery.picture_of_class(label)}
        return candidate(label, self._name(label), float(found.joined[row, place]), **more)

    def _name(self, label: int) -> str | None:
        names = self.model.class_names or ()
        if label < len(names):
            return names[label]
        return self.gallery.name(label) if self.gallery is not None else None


def _softmax(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(Q, C) float64 probabilities, and the log-sum-exp of the logits (Q,)."""
    highest = logits.max(axis=1, keepdims=True).astype(np.float64)
    shifted = np.exp(logits - highest)
    total = shifted.sum(axis=1, keepdims=True)
    return shifted / total, (highest + np.log(total))[:, 0]
