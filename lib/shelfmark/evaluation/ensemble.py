"""Several models' best classes, joined without the models. Legend: N images, K classes an image, F files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.evaluation.submission import read_topk


def ensemble(files: Sequence[Path], weights: Sequence[float]) -> tuple[Strings, np.ndarray, np.ndarray]:
    """Ids in the first file's order, (N, K) classes and (N, K) scores, best first; K is the least of the files' K.

    A class's score is the weighted mean over files of its score in them, 0 where a file does not list it; of equal
    scores the smaller class number comes first. Images without a score in a file are judged by the others; without
    any, they keep the first file's classes, with NaN. weights: (F,) above 0.
    """
    if len(weights) != len(files):
        raise UserError(f"--weights has {len(weights)} numbers for {len(files)} files; give one a file.")
    if not all(np.isfinite(weight) and weight > 0 for weight in weights):
        raise UserError(f"--weights {' '.join(map(str, weights))}: each must be a finite number above 0.")
    ids, *parts = _aligned(files)
    num_places = min(classes.shape[1] for classes, _ in parts)
    first_classes = parts[0][0][:, :num_places]
    classes = np.empty((len(ids), num_places), dtype=np.int64)
    scores = np.full((len(ids), num_places), np.nan)
    for row in range(len(ids)):
        found = _best([(labels[row], values[row]) for labels, values in parts], weights, num_places)
        classes[row], scores[row] = found or (first_classes[row], np.nan)
    return ids, classes, scores


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


def _aligned(files: Sequence[Path]) -> tuple[Strings, *tuple[tuple[np.ndarray, np.ndarray], ...]]:
    """The first file's ids, then each file's classes and scores in their order."""
    ids, classes, scores = read_topk(files[0])
    wanted = list(ids)
    parts = [(classes, scores)]
    for file in files[1:]:
        other_ids, classes, scores = read_topk(file)
        row_of = {one: row for row, one in enumerate(other_ids)}
        missing = next((one for one in wanted if one not in row_of), None)
        if missing is not None or len(row_of) != len(wanted):
            what = f"has no image {missing!r}" if missing is not None else f"has {len(row_of)} images"
            raise UserError(
                f"{file} {what}, unlike {files[0]} with its {len(wanted)}; an ensemble needs files of one test set."
            )
        rows = np.array([row_of[one] for one in wanted], dtype=np.int64)
        parts.append((classes[rows], scores[rows]))
    return ids, *parts
