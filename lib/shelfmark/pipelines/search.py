"""`shelfmark search`: finds the products that look most like a photograph. Legend: K neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from shelfmark.config.overrides import Override
from shelfmark.core.errors import UserError
from shelfmark.data.boxes import box_of_record
from shelfmark.predictions.answers import answered, candidate, unanswered
from shelfmark.retrieval.index import Records
from shelfmark.retrieval.stores import Place
from shelfmark.runtime.photographs import listed
from shelfmark.runtime.searcher import Searcher, require_images

Combine = Literal["max", "sum"]


@dataclass(frozen=True)
class GalleryImage:
    """One neighbour of a photograph. label: None for none. name: empty if the label has no name.

    box: as of an annotation's record, `{"bbox": [...]}`; empty for a whole picture.
    """

    score: float
    id: str
    label: int | None
    name: str
    path: str
    box: Mapping[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """One product. path: of its nearest gallery image."""

    label: int
    name: str
    score: float
    num_neighbours: int
    path: str


@dataclass(frozen=True)
class Answer:
    """The answer for one photograph, best first. error: why it could not be read; other fields are then empty."""

    photo: str
    error: str | None = None
    candidates: tuple[Candidate, ...] = ()
    neighbours: tuple[GalleryImage, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """In the form of `predictions.answers`, with the gallery images behind it as `neighbours`."""
        if self.error is not None:
            return unanswered(self.photo, self.error)
        found = [
            candidate(one.label, one.name, one.score, num_neighbours=one.num_neighbours, path=one.path)
            for one in self.candidates
        ]
        near = [
            {
                "id": one.id,
                "class": one.label,
                "name": one.name or None,
                "score": one.score,
                "path": one.path,
                **one.box,
            }
            for one in self.neighbours
        ]
        return {**answered(self.photo, found), "neighbours": near}


def search_photographs(
    folder: Path,
    photos: Sequence[Path],
    *,
    k: int = 10,
    combine: Combine = "max",
    checkpoint: Path | None = None,
    overrides: Sequence[Override] = (),
    place: Place | None = None,
    where: Sequence[str] = (),
) -> list[Answer]:
    """An answer for each photograph, from the index in `folder`. A folder stands for the photographs in it.

    k: how many gallery images are retrieved. combine: the score of a product is the greatest similarity of its images
    among them (`max`), or the sum of those above 0 (`sum`). checkpoint, place, where: as of `Searcher.open`.
    """
    if k < 1:
        raise UserError(f"--k {k}: ask for at least one neighbour.")
    photos = listed(photos)
    searcher = Searcher.open(folder, checkpoint, overrides, place=place, where=where)
    require_images(searcher, folder, k)
    if combine == "sum" and searcher.index.layout.metric == "euclidean":
        raise UserError(
            "--score sum adds similarities, and the index's metric is euclidean, whose scores are negative distances."
            " Take --score max."
        )
    found = searcher.answer(photos, k)
    answers = []
    for row, photo in enumerate(photos):
        near = gallery_images(searcher.index.records, found.neighbours.scores[row], found.neighbours.ids[row])
        answers.append(Answer(str(photo), found.errors.get(row), _candidates(near, combine), near))
    return answers


def gallery_images(records: Records, scores: np.ndarray, rows: np.ndarray) -> tuple[GalleryImage, ...]:
    """The gallery images that are neighbours of one photograph. scores, rows: (K,); rows of -1 are left out."""
    found = []
    for score, row in zip(scores.tolist(), rows.tolist()):
        if row >= 0:
            label = int(records.labels[row])
            known = None if label < 0 else label
            name = records.names.get(label, "")
            box = {} if records.boxes is None else box_of_record(records.boxes[row])
            found.append(GalleryImage(score, records.ids[row], known, name, records.paths[row], box))
    return tuple(found)


def _candidates(near: Sequence[GalleryImage], combine: Combine) -> tuple[Candidate, ...]:
    of_label: dict[int, list[GalleryImage]] = {}
    for one in near:
        if one.label is not None:
            of_label.setdefault(one.label, []).append(one)
    found = []
    for label, members in of_label.items():
        best = members[0]
        score = best.score if combine == "max" else sum(max(one.score, 0.0) for one in members)
        found.append(Candidate(label, best.name, score, len(members), best.path))
    # Labels are in the order of their best image; the sort is stable, so equal scores keep it.
    return tuple(sorted(found, key=lambda one: -one.score))
