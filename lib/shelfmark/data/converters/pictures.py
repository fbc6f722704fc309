"""The pictures that a published list names: read from its lines, counted, and looked for on the disk."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from shelfmark.core.errors import UserError
from shelfmark.core.text_encoding import NotUtf8, utf8_text
from shelfmark.core.text_safety import printable
from shelfmark.core.wording import counted

NUM_SHOWN = 20


class Picture(NamedTuple):
    """path: relative to data.root. name: of its class, as published. group: of the class, empty where there is none.

    box: x, y, width and height in pixels of the part that the class is of; None for the whole picture.
    """

    path: str
    name: str
    group: str = ""
    box: tuple[float, ...] | None = None

    def record(self, labels: Mapping[str, int]) -> dict[str, object]:
        """Its annotation record. labels: the number of each class name."""
        box = {} if self.box is None else {"bbox": list(self.box)}
        return {"category_id": labels[self.name], "fpath": self.path, **box}


class Counts(NamedTuple):
    """Published sizes. images: None where sources differ, so that only the classes are compared."""

    images: int | None
    classes: int


def list_rows(file: Path, columns: Sequence[str], where: str, header: str = "") -> list[list[str]]:
    """The fields of each line of a published list, divided by spaces; empty lines are left out.

    columns: the names of the fields, for errors. where: how to get the data set. header: the first word of the header,
    which is the first or the second line; empty where there is none.
    Raises a UserError where the file is missing, is empty, or has other columns.
    """
    lines = list_lines(file, where)
    first = 0
    if header:
        heads = [number for number, line in enumerate(lines[:2], start=1) if line.split()[:1] == [header]]
        if not heads:
            raise UserError(f"{file} has no line `{header} ...` at its top; is it the published list? {where}")
        first = heads[0]
    rows: list[list[str]] = []
    wrong: list[str] = []
    for number, line in enumerate(lines[first:], start=first + 1):
        fields = line.split()
        if len(fields) == len(columns):
            rows.append(fields)
        elif fields:
            wrong.append(f"line {number}: {line}")
    if wrong or not rows:
        shown = "\n  ".join(wrong[:NUM_SHOWN]) or "it is empty"
        raise UserError(f"{file}: {len(wrong)} lines are not `{' '.join(columns)}`:\n  {shown}")
    return rows


def list_lines(file: Path, where: str) -> list[str]:
    """The lines of a published list. Raises a UserError where it is missing or is no UTF-8 text."""
    if not file.is_file():
        raise UserError(f"{file} is missing. {where}")
    try:
        return utf8_text(file.read_bytes()).splitlines()
    except NotUtf8 as error:
        raise UserError(f"{file} is {error} Is it the published list? {where}") from None


def class_names(pictures: Iterable[Picture]) -> list[str]:
    """Each class name once, sorted, with numbers in the names by their value: 2 before 10, and 0012 before 12."""
    return sorted({picture.name for picture in pictures}, key=lambda name: (natural(name), name))


def class_groups(pictures: Iterable[Picture], names: Sequence[str]) -> list[str]:
    """The group of each of `names`; an empty list where the data set has no groups."""
    groups = {picture.name: picture.group for picture in pictures}
    return [groups[name] for name in names] if any(groups.values()) else []


def count_notes(parts: Mapping[str, Sequence[Picture]], published: Mapping[str, Counts]) -> Iterator[str]:
    """A line for each part whose size is not the published one: what was expected, and what was found."""
    for name, expected in published.items():
        images = len(parts[name])
        classes = len({picture.name for picture in parts[name]})
        if classes != expected.classes or (expected.images is not None and images != expected.images):
            size = counted(expected.classes, "class")
            size = size if expected.images is None else f"{counted(expected.images, 'image')} in {size}"
            yield (
                f"{name}: expected {size}, as published, but found {counted(images, 'image')} in"
                f" {counted(classes, 'class')}; scores on another set cannot be compared with published ones."
            )


def role_record(path: str, label: int, role: str) -> dict[str, object]:
    """A record for discovery. The class of an unlabelled picture is hidden: only the report reads it."""
    known = {"category_id": label} if role != "unlabelled" else {"category_id": None, "true_category_id": label}
    return {**known, "fpath": path, "role": role}


def require_pictures(base: Path, pictures: Sequence[Picture], where: str) -> None:
    """Raises a UserError where a picture is missing, lies outside `base`, or is in two classes, whole or by one box."""
    names: dict[tuple[str, tuple[float, ...] | None], str] = {}
    twice: list[str] = []
    for path, name, _, box in pictures:
        if names.setdefault((path, box), name) != name:
            twice.append(f"{base / path} is listed in two classes, {names[path, box]!r} and {name!r}")
    if twice:
        raise UserError(f"{first_of(twice)}. {where}")
    paths = dict.fromkeys(path for path, _ in names)
    outside = [path for path in paths if path.startswith("/") or ".." in PurePosixPath(path).parts]
    if outside:
        raise UserError(
            f"{base} lists {first_of(outside)}: that leads out of its folder, and every path must stay in it."
        )
    missing = [path for path in paths if not (base / path).is_file()]
    if missing:
        shown = "\n  ".join(missing[:NUM_SHOWN])
        raise UserError(f"{base} lacks {len(missing):,} of its {len(paths):,} images. {where}\n  {shown}")


def first_of(texts: Sequence[str]) -> str:
    """The first of the texts on one line, and how many more there are."""
    more = f"; and {len(texts) - NUM_SHOWN:,} more" if len(texts) > NUM_SHOWN else ""
    return "; ".join(printable(text, one_line=True) for text in texts[:NUM_SHOWN]) + more


def natural(name: str) -> list[str | int]:
    """What names are sorted by that hold numbers: 2 before 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
