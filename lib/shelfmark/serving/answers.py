"""From the model's outputs to the JSON of an answer. Legend: Q pictures, D embedding, C classes, K neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np

from shelfmark.pipelines.recognise import combined
from shelfmark.predictions.answers import answered, candidate
from shelfmark.retrieval import Neighbours
from shelfmark.serving.gallery import Gallery
from shelfmark.serving.models import EMBEDDING, LOGITS, Model
from shelfmark.serving.batcher import Outputs

# As `shelfmark recognise` has them where its options say nothing else.
_VOTERS, _WEIGHT, _TEMPERATURE = 10, 0.5, 0.1
NUM_CANDIDATES = 5
MOST_NEIGHBOURS = 100


class Answerer:
    """Answers of one model, and of a gallery where there is one. Several threads may ask at once."""

    def __init__(self, model: Model, gallery: Gallery | None) -> None:
        self.model, self.gallery = model, gallery
        self.joins = gallery is not None and bool(gallery.index.facts.get("shares_classes", False))

    def recognised(self, outputs: Outputs, k: int) -> list[dict[str, Any]]:
        """For Q pictures the product and the next best, in the form of `predictions.answers`, with `neighbours`."""
        probabilities = _softmax(outputs[LOGITS])
        if self.gallery is None:
            return [self._answer(row, np.arange(len(one)), one, one, None) for row, one in enumerate(probabilities)]
        near = self.gallery.nearest(outputs[EMBEDDING], max(k, _VOTERS))
        labels, joined, votes = self._joined(probabilities, near)
        width = probabilities.shape[1]
        own = np.pad(probabilities, [(0, 0), (0, len(labels) - width)])
        answers = [self._answer(row, labels, joined[row], own[row], votes[row]) for row in range(len(joined))]
        for answer, scores, rows in zip(answers, near.scores, near.ids):
            answer["neighbours"] = self.gallery.neighbours(scores[:k], rows[:k])
        return answers

    def nearest(self, outputs: Outputs, k: int) -> list[list[dict[str, Any]]]:
        """The k neighbours of each of Q pictures. Only with a gallery."""
        assert self.gallery is not None
        near = self.gallery.nearest(outputs[EMBEDDING], k)
        return [self.gallery.neighbours(scores, rows) for scores, rows in zip(near.scores, near.ids)]

    def _joined(
        self, probabilities: np.ndarray, near: Neighbours[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `combined`. A gallery that numbers its classes by another list does not vote."""
        assert self.gallery is not None
        scores, rows = near.scores[:, :_VOTERS].astype(np.float64), near.ids[:, :_VOTERS]
        voted = np.where((rows >= 0) & self.joins, self.gallery.index.records.labels[rows], -1)
        return combined(probabilities, scores, voted, _WEIGHT, _TEMPERATURE)

    def _answer(
        self, row: int, labels: np.ndarray, joined: np.ndarray, own: np.ndarray, votes: np.ndarray | None
    ) -> dict[str, Any]:
        """labels, joined, own, votes: (C,) of one picture."""
        best = np.argsort(-joined, kind="stable")[:NUM_CANDIDATES]
        candidates = [
            self._candidate(int(labels[place]), joined[place], own[place], None if votes is None else votes[place])
            for place in best
        ]
        return {**answered(str(row), candidates), "promise": None}

    def _candidate(self, label: int, score: float, own: float, vote: float | None) -> dict[str, Any]:
        if self.gallery is None:
            return candidate(label, self._name(label), float(score))
        picture = self.gallery.picture_of_class(label) if self.joins else None
        parts = {"classifier": float(own), "neighbours": None if vote is None else float(vote)}
        return candidate(label, self._name(label), float(score), **parts, picture=picture)

    def _name(self, label: int) -> str | None:
        names = self.model.class_names or ()
        if label < len(names):
            return names[label]
        return self.gallery.name(label) if self.gallery is not None else None


def _softmax(logits: np.ndarray) -> np.ndarray:
    """(Q, C) float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
