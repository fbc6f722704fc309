"""`shelfmark recognise`: the classifier and the nearest gallery images, in one probability.

Legend: Q photographs, C classes of the model, K neighbours, D embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shelfmark.config.overrides import Override
from shelfmark.core.errors import UserError
from shelfmark.predictions.answers import answered, candidate, unanswered
from shelfmark.retrieval.stores import Place
from shelfmark.runtime.photographs import listed
from shelfmark.runtime.searcher import Searcher, require_images

_BLOCK_PHOTOS = 256


@dataclass(frozen=True)
class Product:
    """A product as an answer. probability: combined. classifier, neighbours: its two parts before they are weighted.

    path: of the product's nearest gallery image; empty if none is among the neighbours.
    """

    label: int
    name: str
    probability: float
    classifier: float
    neighbours: float
    path: str


@dataclass(frozen=True)
class Recognition:
    """The answer for one photograph, best first. error: why it could not be read; other fields are then empty."""

    photo: str
    error: str | None = None
    products: tuple[Product, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """In the form of `predictions.answers`; the score is the combined probability."""
        if self.error is not None:
            return unanswered(self.photo, self.error)
        return answered(
            self.photo,
            [
                candidate(
                    one.label,
                    one.name,
                    one.probability,
                    classifier=one.classifier,
                    neighbours=one.neighbours,
                    path=one.path,
                )
                for one in self.products
            ],
        )


def recognise(
    folder: Path,
    photos: Sequence[Path],
    *,
    checkpoint: Path | None = None,
    overrides: Sequence[Override] = (),
    place: Place | None = None,
    where: Sequence[str] = (),
    k: int = 10,
    weight: float = 0.5,
    temperature: float = 0.1,
    topk: int = 5,
) -> list[Recognition]:
    """An answer for each photograph, from the index in `folder` and the model that it was built with; see `combined`.

    topk: products in an answer. place, where: as of `Searcher.open`; the classifier knows of neither. A folder among
    the photographs stands for the photographs in it.
    """
    _check(k, weight, temperature, topk)
    photos = listed(photos)
    searcher = Searcher.open(folder, checkpoint, overrides, place=place, where=where)
    require_images(searcher, folder, k)
    if not searcher.index.facts["shares_classes"]:
        raise UserError(
            f"{folder} numbers its classes by another list than the model, so their answers cannot be joined. Search it"
            " with `shelfmark search`, or build it of annotations with the model's class_names."
        )
    embedded = searcher.embed(photos)
    answers = [Recognition(str(photo), error=embedded.errors.get(row)) for row, photo in enumerate(photos)]
    for start in range(0, len(embedded.rows), _BLOCK_PHOTOS):
        block = slice(start, start + _BLOCK_PHOTOS)
        found = _products(searcher, embedded.features[block], k, weight, temperature, topk)
        for row, products in zip(embedded.rows[block], found):
            answers[row] = Recognition(str(photos[row]), None, products)
    return answers


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


def _products(
    searcher: Searcher, features: np.ndarray, k: int, weight: float, temperature: float, topk: int
) -> list[tuple[Product, ...]]:
    """The products of each of features (Q, D), best first."""
    model, records = searcher.model, searcher.index.records
    with torch.inference_mode():
        logits = model.network.logits(torch.from_numpy(features).to(model.precision.device))
        own = logits.softmax(dim=1).cpu().numpy()
    near = searcher.nearest(features, k)
    width = int((near.ids >= 0).sum(axis=1).max())
    scores, rows = near.scores[:, :width].astype(np.float64), near.ids[:, :width]
    voted = np.where(rows >= 0, records.labels[rows], -1)
    labels, probabilities, votes = combined(own, scores, voted, weight, temperature)
    return [
        tuple(
            Product(
                int(labels[place]),
                _name(searcher, int(labels[place])),
                float(probabilities[row, place]),
                float(own[row, place]) if place < model.num_classes else 0.0,
                float(votes[row, place]),
                _path(searcher, rows[row, voted[row] == labels[place]]),
            )
            for place in np.argsort(-probabilities[row], kind="stable")[:topk]
        )
        for row in range(len(features))
    ]


def _name(searcher: Searcher, label: int) -> str:
    names = searcher.model.class_names or ()
    return names[label] if label < len(names) else searcher.index.records.names.get(label, "")


def _path(searcher: Searcher, rows: np.ndarray) -> str:
    """The path of the first of the rows (n,); empty without any."""
    return searcher.index.records.paths[int(rows[0])] if len(rows) else ""


def _check(k: int, weight: float, temperature: float, topk: int) -> None:
    if k < 1:
        raise UserError(f"--k {k}: ask for at least one neighbour.")
    if not 0 <= weight <= 1:
        raise UserError(f"--weight {weight:g} is not within 0 (the classifier alone) and 1 (the neighbours alone).")
    if not 0 < temperature < float("inf"):
        raise UserError(
            f"--temperature {temperature:g} must be above 0, and finite; near 0 only the nearest image votes."
        )
    if topk < 1:
        raise UserError(f"--topk {topk}: ask for at least one product.")
