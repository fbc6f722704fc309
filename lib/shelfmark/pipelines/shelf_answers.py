"""The answers about a shelf photograph: its boxes, counts of its products, and the files that tell of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shelfmark.core.files import write_text
from shelfmark.core.wording import counted
from shelfmark.data.documents import annotations_json
from shelfmark.pipelines.recognise import Recognition
from shelfmark.reports.shelf_picture import SignedBox
from shelfmark.reports.tables import write_table

PRODUCT, UNKNOWN, OUTSIDE = "product", "unknown", "outside"
_BOX_COLUMNS = ("x", "y", "width", "height", "box_score", "kind", "class", "name", "probability", "rule", "group")
_COUNT_COLUMNS = ("photograph", "class", "name", "boxes")


@dataclass(frozen=True)
class ShelfBox:
    """box: x, y, width, height in pixels of the upright photograph. score: of the detector, None without one.

    group: of an unknown box, from 1 on; None for others.
    """

    box: tuple[float, ...]
    score: float | None
    answer: Recognition
    group: int | None = None

    @property
    def kind(self) -> str:
        """product, shortlist, family or unknown; without thresholds the best product is the answer. outside: the box
        is not in the photograph."""
        if self.answer.error is not None:
            return OUTSIDE
        if self.answer.decision is not None:
            return self.answer.decision.kind
        return PRODUCT if self.answer.products else UNKNOWN

    @property
    def several(self) -> tuple[str, ...]:
        """The names of the products of which one is meant, in order of their numbers; none for other answers."""
        decision = self.answer.decision
        if decision is None or self.kind in (PRODUCT, UNKNOWN, OUTSIDE):
            return ()
        return tuple(self.answer.names.get(one) or f"class {one}" for one in sorted(decision.members))

    def as_json(self) -> dict[str, Any]:
        """As of a recognition, with `bbox`, `box_score` and `group`."""
        return {**self.answer.as_json(), "bbox": list(self.box), "box_score": self.score, "group": self.group}

    def row(self) -> dict[str, Any]:
        """The line of the photograph's table. `name` has all products that the answer names."""
        decision, best = self.answer.decision, self.answer.products[0] if self.answer.products else None
        is_product = self.kind == PRODUCT and best is not None
        names = [] if decision is None else [self.answer.names.get(one) or f"class {one}" for one in decision.members]
        if is_product:
            names = [best.name or f"class {best.label}"] if best is not None else []
        return {
            **dict(zip(_BOX_COLUMNS, self.box)),
            "box_score": "" if self.score is None else self.score,
            "kind": self.kind,
            "class": best.label if is_product and best is not None else "",
            "name": "; ".join(names),
            "probability": best.probability if best is not None and self.kind != UNKNOWN else "",
            "rule": "" if decision is None else decision.rule,
            "group": "" if self.group is None else self.group,
        }


@dataclass(frozen=True)
class Shelf:
    """One photograph. error: why it could not be read. picture, table: its files, None where it could not."""

    photo: str
    error: str | None = None
    boxes: tuple[ShelfBox, ...] = ()
    picture: Path | None = None
    table: Path | None = None

    @property
    def counts(self) -> list[dict[str, Any]]:
        """How many boxes each product has, most first; those with another kind of answer are counted by the kind."""
        names: dict[int, str] = {}
        numbers: dict[int, int] = {}
        for one in self.boxes:
            if one.kind == PRODUCT:
                best = one.answer.products[0]
                names[best.label], numbers[best.label] = best.name, numbers.get(best.label, 0) + 1
        order = sorted(numbers, key=lambda label: (-numbers[label], label))
        return [{"class": label, "name": names[label] or None, "boxes": numbers[label]} for label in order]

    def num_of(self, kind: str) -> int:
        """Boxes with this kind of answer."""
        return sum(one.kind == kind for one in self.boxes)

    def as_json(self) -> dict[str, Any]:
        if self.error is not None:
            return {"id": self.photo, "error": self.error}
        return {
            "id": self.photo,
            "boxes": [one.as_json() for one in self.boxes],
            "counts": self.counts,
            "unknown": self.num_of(UNKNOWN),
            "picture": self.picture,
            "table": self.table,
        }

    def signed(self) -> tuple[list[SignedBox], list[str]]:
        """The boxes with their signs, and the lines that explain them.

        A product's sign is its number among the counts. Several products that may be meant have a letter, whatever
        their order. An unknown box has `?` and the number of its group.
        """
        numbers = {one["class"]: str(number) for number, one in enumerate(self.counts, start=1)}
        lines = [
            f"{numbers[one['class']]}: {one['name'] or 'class ' + str(one['class'])}, {counted(one['boxes'], 'box')}"
            for one in self.counts
        ]
        several = Counter(members for one in self.boxes if (members := one.several))
        letters = {members: _letters(place) for place, members in enumerate(several)}
        lines += [
            f"{letters[members]}: one of {', '.join(members)}, {counted(several[members], 'box')}"
            for members in several
        ]
        lines += self._of_unknown()
        if self.num_of(OUTSIDE):
            lines.append(f"{counted(self.num_of(OUTSIDE), 'box')} outside of the photograph, not drawn")
        boxes = []
        for one in self.boxes:
            if one.kind == PRODUCT:
                boxes.append(SignedBox(one.box, one.kind, numbers[one.answer.products[0].label]))
            elif one.kind != OUTSIDE:
                boxes.append(SignedBox(one.box, one.kind, letters.get(one.several) or _unknown_sign(one)))
        return boxes, lines

    def _of_unknown(self) -> list[str]:
        """A line for each group of several boxes here, one for the groups of one box, one for boxes of no group."""
        numbers = Counter(one.group for one in self.boxes if one.kind == UNKNOWN)
        groups = sorted(group for group in numbers if group is not None)
        lines = [
            f"?{group}: unknown, like those in unknown_{group}.jpg, {counted(numbers[group], 'box')}"
            for group in groups
            if numbers[group] > 1
        ]
        single = [f"?{group}" for group in groups if numbers[group] == 1]
        if single:
            lines.append(f"{', '.join(single)}: unknown, 1 box each, like those in the unknown_N.jpg of the number")
        if numbers[None]:
            lines.append(f"?: unknown, {counted(numbers[None], 'box')}")
        return lines


def _letters(place: int) -> str:
    """a, b, to z, then aa, bb, to zz, and on."""
    return chr(ord("a") + place % 26) * (1 + place // 26)


def _unknown_sign(one: ShelfBox) -> str:
    return "?" if one.group is None else f"?{one.group}"


def write_shelf_table(file: Path, boxes: Sequence[ShelfBox]) -> None:
    """A line for each box."""
    write_table(file, [one.row() for one in boxes], _BOX_COLUMNS)


def write_counts(file: Path, shelves: Sequence[Shelf]) -> None:
    """A line for each product of each photograph."""
    rows = [
        {
            "photograph": shelf.photo,
            "class": one["class"],
            "name": one["name"] or "",
            "boxes": one["boxes"],
        }
        for shelf in shelves
        for one in shelf.counts
    ]
    write_table(file, rows, _COUNT_COLUMNS)


def common_folder(shelves: Sequence[Shelf]) -> Path:
    """The folder that holds all photographs: data.root of unknown.json."""
    return Path(os.path.commonpath([os.path.dirname(os.path.abspath(shelf.photo)) for shelf in shelves]))


def write_unknown(file: Path, shelves: Sequence[Shelf], known: Mapping[int, str], first_new: int) -> None:
    """The unknown boxes as annotations: each group is a class behind those that are known, of a name to be edited.

    known: label -> name of the classes below first_new that have one. Paths start at `common_folder`.
    """
    root = common_folder(shelves)
    groups = [one.group for shelf in shelves for one in shelf.boxes if one.group is not None]
    names = [known.get(label) or f"class {label}" for label in range(first_new)]
    names += [f"new {group}" for group in range(1, max(groups) + 1)]
    content = annotations_json(_unknown_records(shelves, root, first_new), len(names), names)
    write_text(file, content.decode())


def _unknown_records(shelves: Sequence[Shelf], root: Path, first_new: int) -> Iterator[dict[str, Any]]:
    for shelf in shelves:
        path = os.path.relpath(os.path.abspath(shelf.photo), root)
        for one in shelf.boxes:
            if one.group is not None:
                yield {"category_id": first_new + one.group - 1, "fpath": path, "bbox": list(one.box)}
