"""Several models' best classes, joined without the models. Legend: N images, K places of a list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shelfmark.core.door import command_line
from shelfmark.core.errors import UserError
from shelfmark.core.wording import counted
from shelfmark.predictions.submission import TopK, read_topk

_MAX_WEIGHT = 1e100


def join_topk(files: Sequence[Path], weights: Sequence[float], num_classes: int = 0) -> TopK:
    """Ids in the first file's order, (N, K) classes and (N, K) scores, best first; K is the least of the files' K.

    The score of a class is the weighted mean of its scores over files, 0 where a file does not list the class. Of equal
    scores the smaller class number comes first. A file without a score for an image is left out of that image's mean;
    if no file has one, the first file's classes are kept, with NaN. weights: (files,) above 0. num_classes: 0 if
    unknown. Names are those of all files; a UserError if two files give a class two names.
    """
    if len(weights) != len(files):
        raise UserError(f"--weights has {len(weights)} numbers for {len(files)} files; give one a file.")
    if not all(0 < weight <= _MAX_WEIGHT for weight in weights):
        raise UserError(f"--weights {' '.join(map(str, weights))}: each must be a finite number above 0.")
    read = [_read(file, num_classes) for file in files]
    names = _joined_names(files, read)
    ids, parts = read[0].ids, _aligned(files, read)
    num_places = min(classes.shape[1] for classes, _ in parts)
    first_classes = parts[0][0][:, :num_places]
    classes = np.empty((len(ids), num_places), dtype=np.int64)
    scores = np.full((len(ids), num_places), np.nan)
    for row in range(len(ids)):
        found = _best([(labels[row], values[row]) for labels, values in parts], weights, num_places)
        classes[row], scores[row] = found or (first_classes[row], np.nan)
    return TopK(ids, classes, scores, names)


def _best(
    lists: Sequence[tuple[np.ndarray, np.ndarray]], weights: Sequence[float], num_places: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """One image's best classes and scores; None where no file has a score for it."""
    scored = [(labels, values, weight) for (labels, values), weight in zip(lists, weights) if not np.isnan(values[0])]
    if not scored:
        return None
    labels = np.concatenate([labels for labels, _, _ in scored])
    values = np.concatenate([values * weight for _, values, weight in scored]) / sum(weight for *_, weight in scored)
    candidates, place = np.unique(labels, return_inverse=True)
    totals = np.bincount(place, weights=values)
    best = np.argsort(-totals, kind="stable")[:num_places]
    return candidates[best], totals[best]


def _aligned(files: Sequence[Path], read: Sequence[TopK]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each file's classes and scores in the order of the first file's ids."""
    wanted = list(read[0].ids)
    parts = [(read[0].classes, read[0].scores)]
    for file, (other_ids, classes, scores, _) in zip(files[1:], read[1:]):
        row_of = {one: row for row, one in enumerate(other_ids)}
        missing = next((one for one in wanted if one not in row_of), None)
        if missing is not None or len(row_of) != len(wanted):
            what = f"has no image {missing!r}" if missing is not None else f"has {counted(len(row_of), 'image')}"
            raise UserError(
                f"{file} {what}, unlike {files[0]} with its {len(wanted)}; an ensemble needs files of one test set."
            )
        rows = np.array([row_of[one] for one in wanted], dtype=np.int64)
        parts.append((classes[rows], scores[rows]))
    return parts


def _joined_names(files: Sequence[Path], read: Sequence[TopK]) -> dict[int, str]:
    names: dict[int, str] = {}
    named_in: dict[int, Path] = {}
    for file, content in zip(files, read):
        for label, name in content.names.items():
            if names.setdefault(label, name) != name:
                raise UserError(
                    f"class {label} is {name!r} in {file} and {names[label]!r} in {named_in[label]}: these models"
                    " number their classes by two lists, so their scores cannot be joined."
                )
            named_in.setdefault(label, file)
    return names


def _read(file: Path, num_classes: int) -> TopK:
    content = read_topk(file)
    ids, classes = content.ids, content.classes
    if not len(ids):
        raise UserError(f"{file} has no row below its header; write it again with `{command_line('test')} --topk K`.")
    if num_classes and classes.max() >= num_classes:
        row = int((classes >= num_classes).any(axis=1).argmax())
        raise UserError(
            f"{file}, row {row + 1}: {ids[row]!r} has the class {classes[row].max()}; with --num-classes {num_classes}"
            f" classes run from 0 to {num_classes - 1}."
        )
    return content
