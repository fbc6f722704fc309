"""`shelfmark search`: photographs to the products that look most like them. Legend: Q photographs, D embedding."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from shelfmark.config.overrides import Override
from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data.annotations import image_paths
from shelfmark.data.table import Table
from shelfmark.pipelines.index import open_index
from shelfmark.recipe import assemble
from shelfmark.retrieval.index import Index, Records
from shelfmark.runtime.trained_model import TrainedModel

Combine = Literal["max", "sum"]
_FEW_PHOTOS = 64


@dataclass(frozen=True)
class Neighbour:
    """One gallery image. label: None where it has none. name: empty where the label has none."""

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
    neighbours: tuple[Neighbour, ...] = ()


@dataclass(frozen=True)
class Embedded:
    """features: (Q, D) of the photographs at `rows`. errors: why each of the others could not be read, by its row."""

    rows: np.ndarray
    features: np.ndarray
    errors: dict[int, str]


def search(
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
    index, opened = open_index(folder, checkpoint, overrides)
    if combine == "sum" and index.metric == "euclidean":
        raise UserError(
            "--score sum adds similarities, and the index's metric is euclidean, whose scores are negative distances."
            " Take --score max."
        )
    embedded = embed_photos(opened, photos)
    found = neighbours(index, embedded.features, k)
    answers = [Answer(str(photo), error=embedded.errors.get(row)) for row, photo in enumerate(photos)]
    for row, near in zip(embedded.rows, found):
        answers[row] = Answer(str(photos[row]), None, _candidates(near, combine), near)
    return answers


def listed(photos: Sequence[Path]) -> list[Path]:
    """The photographs, with those in a folder in its place."""
    found: list[Path] = []
    for photo in photos:
        found.extend([photo / name for name in image_paths(photo)] if photo.is_dir() else [photo])
    if not found:
        raise UserError(f"there is no photograph in {', '.join(map(str, photos))}.")
    return found


def embed_photos(opened: TrainedModel, photos: Sequence[Path]) -> Embedded:
    """The embeddings of photographs, prepared as the recipe's evaluation prepares them. None is too bad to go on."""
    paths = Strings.of(os.path.abspath(photo) for photo in photos)
    labels = np.full(len(photos), -1, dtype=np.int64)
    table = Table(paths, labels, paths, num_classes=0, root=Path("/"), sha256="")
    data = opened.recipe.data
    # To start a loader process takes longer than to read a few pictures.
    num_workers = data.num_workers if len(photos) > _FEW_PHOTOS else 0
    forgiving = data.model_copy(update={"on_bad_image": "skip", "num_workers": num_workers})
    rows, features, errors = [np.empty(0, np.int64)], [], {}
    for batch in assemble.evaluation_batches(opened.recipe.model_copy(update={"data": forgiving}), table):
        errors.update({bad.row: bad.reason for bad in batch.bad})
        if len(batch):
            with torch.inference_mode(), opened.precision.autocast():
                embedding = opened.network.embed(batch.images.to(opened.precision.device))
            rows.append(batch.rows.numpy())
            features.append(embedding.float().cpu().numpy())
    return Embedded(np.concatenate(rows), np.concatenate(features) if features else np.empty((0, 0)), errors)


def neighbours(index: Index, features: np.ndarray, k: int) -> list[tuple[Neighbour, ...]]:
    """For each of features (Q, D) its k nearest gallery images, fewer where the index has fewer."""
    if not len(features):
        return []
    scores, rows = index.search(features, min(k, max(1, len(index))))
    return [
        tuple(_neighbour(index.records, int(row), float(score)) for score, row in zip(*pair) if row >= 0)
        for pair in zip(scores, rows)
    ]


def _neighbour(records: Records, row: int, score: float) -> Neighbour:
    label = int(records.labels[row])
    return Neighbour(
        score,
        records.ids[row],
        label if label >= 0 else None,
        records.names.get(label, ""),
        records.paths[row],
    )


def _candidates(near: Sequence[Neighbour], combine: Combine) -> tuple[Candidate, ...]:
    of_label: dict[int, list[Neighbour]] = {}
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
