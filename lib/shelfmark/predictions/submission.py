"""Prediction files: written whole, then read back and compared. Legend: N images, K places of a list.

The challenge's form: `id,predicted`, CRLF line ends, UTF-8, quotes only where a field needs them.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.door import command_line
from shelfmark.core.errors import UserError
from shelfmark.core.files import atomic_path
from shelfmark.core.strings import Strings
from shelfmark.core.text_encoding import NotUtf8
from shelfmark.core.text_safety import spreadsheet_cell
from shelfmark.core.types import Array, Integers
from shelfmark.data.limits import MAX_CLASSES

HEADER = ["id", "predicted"]
_MAX_SCORE = 1e100
"""Far above any score; sums of such scores stay finite."""
_RowMaker = Callable[[], Iterator[list[str]]]


def write_submission(path: Path, image_ids: Strings | Sequence[str], predicted: Integers) -> None:
    """Writes one row an image, in the given order. predicted: (N,) class ids."""
    classes = _classes(predicted, (len(image_ids),))
    check_ids(image_ids)
    _write_checked(path, HEADER, lambda: ([one, str(label)] for one, label in zip(image_ids, classes.tolist())))


def write_topk(
    path: Path,
    image_ids: Strings | Sequence[str],
    classes: Integers,
    scores: Array,
    names: Mapping[int, str] | None = None,
) -> None:
    """Writes the K best classes of each image with their scores: `id,class_1,score_1,class_2,score_2,...`.

    classes: (N, K) best first. scores: (N, K), in as many digits as they need to be read back equal; NaN,
    for an image without a score, is left empty. names: of classes, for the columns `name_1,name_2,...` behind these;
    without any there are no such columns. A name that a spreadsheet would run as a formula begins with `'`.
    """
    given = torch.as_tensor(scores).cpu()
    values = (given if given.dtype == torch.float64 else given.float()).numpy()
    if values.ndim != 2 or len(values) != len(image_ids):
        raise ValueError(f"scores are {values.shape} for {len(image_ids)} images; expected (N, K)")
    labels = _classes(classes, values.shape)
    check_ids(image_ids)

    def rows() -> Iterator[list[str]]:
        for one, row_labels, row_values in zip(image_ids, labels.tolist(), values):
            cells = zip(row_labels, row_values)
            named = [spreadsheet_cell(names.get(label, "")) for label in row_labels] if names else []
            yield [one, *(text for label, value in cells for text in (str(label), _score_text(value))), *named]

    _write_checked(path, _topk_header(values.shape[1], bool(names)), rows)


class TopK(NamedTuple):
    """The best classes of N images. classes: (N, K) int64. scores: (N, K) float64; those of an image may be all NaN.

    names: of classes, as they stand in the file; empty for a file without names.
    """

    ids: Strings
    classes: np.ndarray
    scores: np.ndarray
    names: dict[int, str]


def read_topk(path: Path) -> TopK:
    """The content of a file that `write_topk` wrote, with names or without.

    The scores of a row are finite and not negative, or all empty (NaN). A UserError names the first wrong line; a class
    may not come twice in a line nor have two names, and an id may not come twice in the file.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist. Write it with `{command_line('test')} --topk K`.")
    rows = _numbered_rows(path)
    _, header = next(rows, ("", []))
    has_names = "name_1" in header
    num_places = len(header) // 3 if has_names else len(header) // 2
    if not num_places or header != _topk_header(num_places, has_names):
        shown = _cut(",".join(header))
        raise UserError(f"{path} begins with {shown!r}; a top-k file begins with 'id,class_1,score_1,...'.")
    ids: dict[str, str] = {}
    classes: list[list[int]] = []
    scores: list[list[float]] = []
    names: dict[int, str] = {}
    for place, row in rows:
        _check_id(path, place, row[0] if row else "", ids)
        if has_names and len(row) != len(header):
            raise UserError(f"{path}, {place}: {_cut(','.join(row))!r} has {len(row)} cells, not {len(header)}.")
        labels, values = _labels_and_scores(path, place, row[: 1 + 2 * num_places] if has_names else row, num_places)
        _check_names(path, place, zip(labels, row[1 + 2 * num_places :]), names)
        classes.append(labels)
        scores.append(values)
    shape = (len(ids), num_places)
    arrays = np.array(classes, dtype=np.int64).reshape(shape), np.array(scores).reshape(shape)
    return TopK(Strings.of(ids), *arrays, names)


def read_submission(path: Path) -> tuple[Strings, np.ndarray]:
    """Image ids and (N,) int64 classes of a submission file; a UserError names the first line that is not one."""
    if not path.is_file():
        raise UserError(f"{path} does not exist. Write a submission with `shelfmark test`.")
    rows = _numbered_rows(path)
    _, header = next(rows, ("", []))
    if header != HEADER:
        raise UserError(f"{path} begins with {_cut(','.join(header))!r}; a submission begins with 'id,predicted'.")
    ids: dict[str, str] = {}
    classes: list[int] = []
    for place, row in rows:
        label = _class_number(row[1]) if len(row) == 2 else None
        if label is None:
            raise UserError(f"{path}, {place}: {_cut(','.join(row))!r} is not an image id and a class number.")
        _check_id(path, place, row[0], ids)
        classes.append(label)
    return Strings.of(ids), np.array(classes, dtype=np.int64)


def check_ids(image_ids: Strings | Sequence[str]) -> None:
    """Raises a UserError for an id that is empty or stands twice: such images cannot be submitted."""
    first_row: dict[str, int] = {}
    for row, one in enumerate(image_ids):
        if not one:
            raise UserError(f"Test image {row} has an empty id; each row of a submission needs one.")
        if first_row.setdefault(one, row) != row:
            raise UserError(
                f"Test images {first_row[one]} and {row} have the same id {one!r}; a submission holds each id once. "
                "Remove one of them from the test list."
            )


def _labels_and_scores(path: Path, place: str, row: list[str], num_places: int) -> tuple[list[int], list[float]]:
    """The classes and scores of one row."""
    cells = row[1:]
    labels = [_class_number(cell) for cell in cells[::2]]
    values = [_score(cell) for cell in cells[1::2]]
    if len(cells) != 2 * num_places or None in labels or None in values:
        raise UserError(
            f"{path}, {place}: {_cut(','.join(row))!r} is not an image id and {num_places} classes with scores. A"
            f" class is a number of 0..{MAX_CLASSES - 1}, a score a finite number from 0, or empty."
        )
    known = [label for label in labels if label is not None]
    given = [value for value in values if value is not None]
    if len(set(known)) < len(known):
        twice = next(label for label in known if known.count(label) > 1)
        raise UserError(f"{path}, {place}: {row[0]!r} has the class {twice} twice; each stands once in a row.")
    if 0 < sum(map(math.isnan, given)) < len(given):
        raise UserError(f"{path}, {place}: {row[0]!r} has some scores and lacks others; give all of a row, or none.")
    return known, given


def _check_names(path: Path, place: str, named: Iterable[tuple[int, str]], names: dict[int, str]) -> None:
    """Adds the names of a row to `names`."""
    for label, name in named:
        if name and names.setdefault(label, name) != name:
            raise UserError(
                f"{path}, {place}: class {label} is {_cut(name)!r}, and {_cut(names[label])!r} in a row above; the file"
                " is joined of two lists of classes."
            )


def _class_number(cell: str) -> int | None:
    is_number = cell.isascii() and cell.isdigit() and len(cell) < 12
    return int(cell) if is_number and int(cell) < MAX_CLASSES else None


def _score(cell: str) -> float | None:
    """NaN for an empty cell; None for what is no score."""
    if not cell:
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if 0 <= value <= _MAX_SCORE else None


def _check_id(path: Path, place: str, one: str, seen: dict[str, str]) -> None:
    if not one:
        raise UserError(f"{path}, {place}: the image id is empty.")
    if seen.setdefault(one, place) != place:
        raise UserError(f"{path}, {place}: the image {one!r} stands in {seen[one]} already; each has one row.")


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


def _topk_header(num_places: int, has_names: bool) -> list[str]:
    places = range(1, num_places + 1)
    names = [f"name_{place}" for place in places] if has_names else []
    return ["id", *(f"{name}_{place}" for place in places for name in ("class", "score")), *names]


def _rows(path: Path) -> Iterator[list[str]]:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
        yield from csv.reader(stream)


def _numbered_rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The rows with their places: `line 3, row 2`, which is counted from 1 behind the header."""
    _require_text(path)
    # Names of images may be of any bytes, and a spreadsheet begins a file with a mark.
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        reader = csv.reader(stream)
        line, number = 1, 0
        try:
            for row in reader:
                yield f"line {line}, row {number}", row
                line, number = reader.line_num + 1, number + 1
        except csv.Error as error:
            raise UserError(f"{path}, line {line}: no CSV: {error}.") from None


def _require_text(path: Path) -> None:
    """Raises a UserError where the file is UTF-16 or the like, of which every name would be another."""
    with open(path, "rb") as stream:
        beginning = stream.read(4096)
    if b"\0" in beginning or beginning[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{path} is {NotUtf8(beginning)}")


def _cut(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:117]}..."


def _classes(given: Integers, shape: tuple[int, ...]) -> np.ndarray:
    classes = given.cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
    if classes.shape != shape:
        raise ValueError(f"predicted classes are {classes.shape}; the images ask for {shape}")
    if classes.size and classes.dtype.kind not in "iu":
        raise ValueError(f"predicted classes are {classes.dtype}; they must be integers")
    if classes.size and classes.min() < 0:
        row = int(np.argwhere(classes < 0)[0][0])
        raise ValueError(f"image {row} has the predicted class {classes.min()}; classes are numbered from 0")
    return classes


def _score_text(value: np.floating) -> str:
    return "" if np.isnan(value) else str(value)
