"""`shelfmark recognise`: the classifier and the nearest gallery images, in one probability.

Legend: Q photographs, C classes of the model, K neighbours, D embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.calibration.promise.promise import Promise
from shelfmark.calibration.promise.rules import Decision
from shelfmark.config.overrides import Override
from shelfmark.core.errors import UserError
from shelfmark.core.log import warn
from shelfmark.predictions.answers import answered, candidate, decided, unanswered, unpromised
from shelfmark.predictions.joined import combined
from shelfmark.retrieval.index import Index
from shelfmark.retrieval.stores import Place
from shelfmark.runtime.joint_answers import JointAnswers, SearchSettings, joint_blocks
from shelfmark.runtime.photographs import listed
from shelfmark.runtime.searcher import Searcher, require_images
from shelfmark.runtime.thresholds_file import promise_of

__all__ = ["Product", "Recognition", "combined", "recognise"]


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
    """The answer for one photograph, best first. error: why it could not be read; other fields are then empty.

    decision: of the rules, with the names of the classes that it names and what is promised; None without thresholds.
    """

    photo: str
    error: str | None = None
    products: tuple[Product, ...] = ()
    decision: Decision | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    promise: Promise | None = None

    def as_json(self) -> dict[str, Any]:
        """In the form of `predictions.answers`; the score is the combined probability."""
        if self.error is not None:
            return unanswered(self.photo, self.error)
        found = [
            candidate(
                one.label,
                one.name,
                one.probability,
                classifier=one.classifier,
                neighbours=one.neighbours,
                path=one.path,
            )
            for one in self.products
        ]
        if self.decision is None or self.promise is None:
            return unpromised(answered(self.photo, found))
        return decided(self.photo, self.decision, found, self.names, self.promise.as_json())


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
    searcher: Searcher | None = None,
) -> list[Recognition]:
    """An answer for each photograph, from the index in `folder` and the model that it was built with; see `combined`.

    Thresholds in the folder decide what is answered; without some that fit, a warning says that nothing is promised.

    topk: products in an answer. place, where: as of `Searcher.open`; the classifier knows of neither. A folder among
    the photographs stands for the photographs in it. searcher: of this folder, where it is open already.
    """
    settings = SearchSettings(k, weight, temperature)
    if topk < 1:
        raise UserError(f"--topk {topk}: ask for at least one product.")
    photos = listed(photos)
    searcher = searcher or Searcher.open(folder, checkpoint, overrides, place=place, where=where)
    require_images(searcher, folder, k)
    require_shared_classes(searcher.index, folder)
    promise = promise_for(searcher, folder, settings)
    embedded = searcher.embed(photos)
    answers = [Recognition(str(photo), error=embedded.errors.get(row)) for row, photo in enumerate(photos)]
    names = [str(photos[row]) for row in embedded.rows]
    for row, answer in zip(embedded.rows, answers_to(searcher, names, embedded.features, settings, promise, topk)):
        answers[row] = answer
    return answers


def answers_to(
    searcher: Searcher,
    names: Sequence[str],
    features: np.ndarray,
    settings: SearchSettings,
    promise: Promise | None,
    topk: int,
) -> list[Recognition]:
    """The answers about Q pictures with these names, by their features (Q, D)."""
    answers = []
    for block, found in joint_blocks(searcher.model, searcher.index, features, settings, searcher.among):
        for at, name in enumerate(names[block]):
            answer = Recognition(name, None, _products(searcher, found, at, topk))
            if promise is not None:
                decision = promise.decide(found.evidence(at))
                of_members = {label: _name(searcher, label) for label in decision.members}
                answer = replace(answer, decision=decision, names=of_members, promise=promise)
            answers.append(answer)
    return answers


def promise_for(searcher: Searcher, folder: Path, settings: SearchSettings) -> Promise | None:
    """What the thresholds in the folder promise of answers with these settings; None, with a warning, where nothing."""
    if searcher.among is None:
        return promise_of(searcher.model, folder, settings)
    warn("with --where nothing is promised: thresholds are learned on a search of the whole index")
    return None


def require_shared_classes(index: Index, folder: Path) -> None:
    """Raises a UserError if the index in `folder` numbers its classes by another list than the model."""
    if not index.facts["shares_classes"]:
        raise UserError(
            f"{folder} numbers its classes by another list than the model, so their answers cannot be joined. Search it"
            " with `shelfmark search`, or build it of annotations with the model's class_names."
        )


def _products(searcher: Searcher, found: JointAnswers, row: int, topk: int) -> tuple[Product, ...]:
    """The products of one photograph, best first."""
    return tuple(
        Product(
            int(found.labels[place]),
            _name(searcher, int(found.labels[place])),
            float(found.joined[row, place]),
            float(found.classifier[row, place]),
            float(found.votes[row, place]),
            _path(searcher, found.rows[row, found.neighbour_labels[row] == found.labels[place]]),
        )
        for place in np.argsort(-found.joined[row], kind="stable")[:topk]
    )


def _name(searcher: Searcher, label: int) -> str:
    names = searcher.model.class_names or ()
    return names[label] if label < len(names) else searcher.index.records.names.get(label, "")


def _path(searcher: Searcher, rows: np.ndarray) -> str:
    """The path of the first of the rows (n,); empty without any."""
    return searcher.index.records.paths[int(rows[0])] if len(rows) else ""
