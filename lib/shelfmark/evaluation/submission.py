"""Prediction files: written whole, then read back and compared. Legend: N images, K classes an image.

The challenge's form: `id,predicted`, CRLF line ends, UTF-8, quotes only where a field needs them.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.core.files import atomic_path
from shelfmark.core.strings import Strings

Array = Tensor | np.ndarray | Sequence[int]
HEADER = ["id", "predicted"]
_RowMaker = Callable[[], Iterator[list[str]]]


def write_submission(path: Path, image_ids: Strings | Sequence[str], predicted: Array) -> None:
    """Writes one row an image, in the given order. predicted: (N,) class ids."""
    classes = _classes(predicted, (len(image_ids),))
    _check_ids(image_ids)
    _write_checked(path, HEADER, lambda: ([one, str(label)] for one, label in zip(image_ids, classes.tolist())))


def write_topk(path: Path, image_ids: Strings | Sequence[str], classes: Array, scores: Tensor | np.ndarray) -> None:
    """Writes the K best classes of each image with their scores: `id,class_1,score_1,class_2,score_2,...`.

    classes: (N, K) best first. scores: (N, K), in as many digits as they need to be read back equal; NaN,
    for an image without a score, is left empty.
    """
    given = torch.as_tensor(scores).cpu()
    values = (given if given.dtype == torch.float64 else given.float()).numpy()
    if values.ndim != 2 or len(values) != len(image_ids):
        raise ValueError(f"scores are {values.shape} for {len(image_ids)} images; expected (N, K)")
    labels = _classes(classes, values.shape)
    _check_ids(image_ids)

    def rows() -> Iterator[list[str]]:
        for one, row_labels, row_values in zip(image_ids, labels, values):
            cells = zip(row_labels.tolist(), row_values)
            yield [one, *(text for label, value in cells for text in (str(label), _score_text(value)))]

    _write_checked(path, _topk_header(values.shape[1]), rows)


def read_topk(path: Path) -> tuple[Strings, np.ndarray, np.ndarray]:
    """Image ids, (N, K) int64 classes and (N, K) float64 scores of a file that `write_topk` wrote.

    A score that is left empty is NaN. A UserError names the first line that does not fit.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist. Write it with `python test.py --topk K`.")
    rows = _rows(path)
    header = next(rows, [])
    num_places = len(header) // 2
    if not num_places or header != _topk_header(num_places):
        raise UserError(f"{path} begins with {','.join(header)!r}; a top-k file begins with 'id,class_1,score_1,...'.")
    ids: list[str] = []
    classes: list[list[int]] = []
    scores: list[list[float]] = []
    for number, row in enumerate(rows, start=1):
        try:
            cells = iter(row[1:])
            pairs = [(int(label), float(score or "nan")) for label, score in zip(cells, cells, strict=True)]
            if len(pairs) != num_places or min(label for label, _ in pairs) < 0:
                raise ValueError
        except ValueError:
            raise UserError(
                f"{path}, row {number}: {','.join(row)!r} is not an image id and {num_places} classes with scores."
            ) from None
        ids.append(row[0])
        classes.append([label for label, _ in pairs])
        scores.append([score for _, score in pairs])
    shape = (len(ids), num_places)
    return Strings.of(ids), np.array(classes, dtype=np.int64).reshape(shape), np.array(scores).reshape(shape)


def read_submission(path: Path) -> tuple[Strings, np.ndarray]:
    """Image ids and (N,) int64 classes of a submission file; a UserError names the first line that is not one."""
    if not path.is_file():
        raise UserError(f"{path} does not exist. Write a submission with `shelfmark test`.")
    rows = _rows(path)
    header = next(rows, [])
    if header != HEADER:
        raise UserError(f"{path} begins with {','.join(header)!r}; a submission begins with 'id,predicted'.")
    ids: list[str] = []
    classes: list[int] = []
    for number, row in enumerate(rows, start=1):
        if len(row) != 2 or not (row[1].isascii() and row[1].isdigit()):
            raise UserError(f"{path}, row {number}: {','.join(row)!r} is not an image id and a class number.")
        ids.append(row[0])
        classes.append(int(row[1]))
    return Strings.of(ids), np.array(classes, dtype=np.int64)


def _write_checked(path: Path, header: list[str], rows: _RowMaker) -> None:
    with atomic_path(path) as beside:
        with open(beside, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            # csv's own dialect: CRLF, and quotes only where they are needed.
            writer = csv.writer(stream)
            writer.writerow(header)
            writer.writerows(rows())
        found = _rows(beside)
        if next(found, None) != header:
            raise UserError(f"{path} did not read back as written: its header is damaged. Check the disk.")
        for number, (expected, row) in enumerate(zip_longest(rows(), found), start=1):
            if expected != row:
                raise UserError(f"{path}, row {number}: wrote {expected}, read back {row}. Check the disk.")


def _topk_header(num_places: int) -> list[str]:
    return ["id", *(f"{name}_{place}" for place in range(1, num_places + 1) for name in ("class", "score"))]


def _rows(path: Path) -> Iterator[list[str]]:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
        yield from csv.reader(stream)


def _classes(given: Array, shape: tuple[int, ...]) -> np.ndarray:
    classes = given.cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
    if classes.shape != shape:
        raise ValueError(f"predicted classes are {classes.shape}; the images ask for {shape}")
    if classes.size and classes.dtype.kind not in "iu":
        raise ValueError(f"predicted classes are {classes.dtype}; they must be integers")
    if classes.size and classes.min() < 0:
        row = int(np.argwhere(classes < 0)[0][0])
        raise ValueError(f"image {row} has the predicted class {classes.min()}; classes are numbered from 0")
    return classes


def _check_ids(image_ids: Strings | Sequence[str]) -> None:
    first_row: dict[str, int] = {}
    for row, one in enumerate(image_ids):
        if not one:
            raise UserError(f"Test image {row} has an empty id; each row of a submission needs one.")
        if first_row.setdefault(one, row) != row:
            raise UserError(
                f"Test images {first_row[one]} and {row} have the same id {one!r}; a submission holds each id once. "
                "Remove one of them from the test list."
            )


def _score_text(value: np.floating) -> str:
    return "" if np.isnan(value) else str(value)
