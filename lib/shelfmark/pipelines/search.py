"""`shelfmark search`: photographs to the products that look most like them. Legend: K neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from shelfmark.config.overrides import Override
from shelfmark.core.errors import UserError
from shelfmark.retrieval.index import Records
from shelfmark.runtime.photographs import listed
from shelfmark.runtime.searcher import Searcher

Combine = Literal["max", "sum"]


@dataclass(frozen=True)
class GalleryImage:
    """One neighbour of a photograph. label: None where it has none. name: empty where the label has none."""

    score: float
    id: str
    label: int | None
    name: str
    path: str


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
    """Of one photograph, best first. error: why it could not be read; then there is nothing else."""

    photo: str
    error: str | None = None
    candidates: tuple[Candidate, ...] = ()
    neighbours: tuple[GalleryImage, ...] = ()


def search_photographs(
    folder: Path,
    photos: Sequence[Path],
    *,
    k: int = 10,
    combine: Combine = "max",
    checkpoint: Path | None = None,
    overrides: Sequence[Override] = (),
) -> list[Answer]:
    """An answer for each photograph, from the index in `folder`; a folder among the photographs stands for those in it.

    k: gallery images that are looked at. combine: a product's score is the best of its images' similarities among
    them (`max`), or the sum of those above 0 (`sum`). checkpoint: where the model lies now, if it was moved.
    """
    if k < 1:
        raise UserError(f"--k {k}: ask for at least one neighbour.")
    photos = listed(photos)
    searcher = Searcher.open(folder, checkpoint, overrides)
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
    """What is known of one photograph's neighbours. scores, rows: (K,); the places of a row of -1 are left out."""
    found = []
    for score, row in zip(scores.tolist(), rows.tolist()):
        if row >= 0:
            label = int(records.labels[row])
            known = None if label < 0 else label
            name = records.names.get(label, "")
            found.append(GalleryImage(score, records.ids[row], known, name, records.paths[row]))
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
    # Labels stand in the order of their best image, which sort keeps among equals.
    return tuple(sorted(found, key=lambda one: -one.score))
