"""Which class of one list is which of another: by name, never by place alone.

Annotations and a checkpoint, or two annotation files, may list the same classes in another order. Every command asks
here. Legend: C classes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from shelfmark.core.errors import UserError, did_you_mean
from shelfmark.core.log import say
from shelfmark.data.table import Table

_SHOWN = 5


@dataclass(frozen=True)
class ClassList:
    """C numbered classes. names: (C,), None where they have none. owner: for messages, such as `the checkpoint`."""

    num_classes: int
    names: tuple[str, ...] | None
    owner: str
    is_plural: bool = False

    @classmethod
    def of_training(cls, train: Table) -> ClassList:
        return cls(train.num_classes, train.class_names, "the training annotations", is_plural=True)

    @classmethod
    def of_file(cls, table: Table, file: str) -> ClassList:
        return cls(table.num_classes, table.class_names, file)

    @property
    def has(self) -> str:
        return "have" if self.is_plural else "has"

    @property
    def does(self) -> str:
        return "do" if self.is_plural else "does"


def class_key(name: str) -> str:
    """What makes two names equal: neither blanks around them, nor how Unicode composes an accent."""
    return unicodedata.normalize("NFC", name).strip()


def matched(table: Table, file: str, known: ClassList) -> Table:
    """The table with its classes numbered as in `known`; it says how many have another number there.

    Without names on one side the numbers are taken to be the same, if there are equally many. Classes that `known`
    lacks are left out, if no image is of them. UserError: an image is of such a class, a name stands twice in lists
    that differ, or nothing says which class is which.
    """
    numbers = class_numbers(ClassList.of_file(table, file), known)
    images = table.labels[table.labels >= 0]
    unknown = np.unique(images[numbers[images] < 0])
    if len(unknown):
        assert table.class_names is not None
        raise UserError(_unknown_told([table.class_names[label] for label in unknown], file, known))
    return _renumbered(table, file, numbers, known)


def matched_or_own(table: Table, file: str, known: ClassList) -> Table:
    """As `matched`; but classes of another catalogue than `known` keep all their numbers. So do classes without names,
    of which there are more or fewer than in `known`."""
    if known.names is None or (table.class_names is None and table.num_classes != known.num_classes):
        return table
    if table.class_names is None:
        return matched(table, file, known)
    if same_beginning(table.class_names, known.names):
        return table
    try:
        numbers = class_numbers(ClassList.of_file(table, file), known)
    except UserError:
        return table
    images = table.labels[table.labels >= 0]
    return table if (numbers[images] < 0).any() else _renumbered(table, file, numbers, known)


def class_numbers(theirs: ClassList, ours: ClassList) -> np.ndarray:
    """(C of theirs,) int64: the number of each of their classes in our list, -1 if our list lacks it.

    UserError: as `matched`.
    """
    if theirs.names is None or ours.names is None:
        return _numbers_without_names(theirs, ours)
    their_keys, our_keys = ([class_key(name) for name in side] for side in (theirs.names, ours.names))
    if our_keys[: len(their_keys)] == their_keys:
        return np.arange(len(their_keys))
    for side, keys in ((theirs, their_keys), (ours, our_keys)):
        _require_distinct(side, keys, theirs, ours)
    places = {key: number for number, key in enumerate(our_keys)}
    return np.array([places.get(key, -1) for key in their_keys], dtype=np.int64)


def with_new_behind(theirs: ClassList, ours: ClassList) -> tuple[np.ndarray, ClassList]:
    """As `class_numbers`, where new classes are numbered behind ours; and the list of all."""
    numbers = class_numbers(theirs, ours)
    new = np.flatnonzero(numbers < 0)
    numbers[new] = ours.num_classes + np.arange(len(new))
    names = ours.names or theirs.names
    if ours.names is not None and theirs.names is not None:
        names = (*ours.names, *(theirs.names[number] for number in new))
    return numbers, replace(ours, num_classes=ours.num_classes + len(new), names=names)


def class_sources(names: Sequence[str] | None, former: Sequence[str] | None) -> np.ndarray | None:
    """(C,) int64: the number that each class had in a former list, -1 if it is new.

    None: the lists are the same, or one has no names. If a name stands twice in one of them, all are new.
    """
    if names is None or former is None:
        return None
    now, before = ([class_key(name) for name in side] for side in (names, former))
    if now == before:
        return None
    if len(set(now)) < len(now) or len(set(before)) < len(before):
        say("note: a class name stands twice in one list, so no class is matched by name")
        return np.full(len(now), -1)
    places = {key: number for number, key in enumerate(before)}
    return np.array([places.get(key, -1) for key in now], dtype=np.int64)


def say_moved(file: str, num_moved: int, known: ClassList) -> None:
    """The one line about classes that have another number in `known`."""
    what = "1 class stands" if num_moved == 1 else f"{num_moved} classes stand"
    say(f"{file}: {what} in another order than in {known.owner}; matched by name")


def same_beginning(names: Sequence[str], others: Sequence[str]) -> bool:
    """Whether no class has another name in the other list, as far as both lists go."""
    return all(class_key(one) == class_key(other) for one, other in zip(names, others))


def _renumbered(table: Table, file: str, numbers: np.ndarray, known: ClassList) -> Table:
    if known.names is None or (len(numbers) == known.num_classes and np.array_equal(numbers, np.arange(len(numbers)))):
        return table if table.class_names else replace(table, class_names=known.names)
    moved = int((numbers != np.arange(len(numbers))).sum() - (numbers < 0).sum())
    if moved:
        say_moved(file, moved, known)
    return replace(
        table,
        labels=_mapped(table.labels, numbers),
        true_labels=None if table.true_labels is None else _mapped(table.true_labels, numbers),
        num_classes=known.num_classes,
        class_names=known.names,
        groups=None if table.groups is None else _groups(table.groups, numbers, known.num_classes),
    )


def _mapped(labels: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """-1 stays -1."""
    return np.append(numbers, -1)[labels]


def _groups(groups: Sequence[str], numbers: np.ndarray, num_classes: int) -> tuple[str, ...]:
    """Each class's group; empty for a class that the table lacks."""
    found = [""] * num_classes
    for group, number in zip(groups, numbers.tolist()):
        if number >= 0:
            found[number] = group
    return tuple(found)


def _numbers_without_names(theirs: ClassList, ours: ClassList) -> np.ndarray:
    if theirs.num_classes != ours.num_classes:
        raise UserError(
            f"{theirs.owner} {theirs.has} num_classes={theirs.num_classes} but {ours.owner} {ours.has}"
            f" {ours.num_classes}, and without class_names on both sides nothing says which class is which. Add"
            f" class_names; or, if the numbers mean the same classes, write num_classes={ours.num_classes} into the"
            " file."
        )
    nameless, named = (theirs, ours) if theirs.names is None else (ours, theirs)
    if named.names is not None:
        say(f"note: {nameless.owner} {nameless.has} no class_names; they are taken from {named.owner}, by number")
    return np.arange(theirs.num_classes)


def _require_distinct(side: ClassList, keys: Sequence[str], theirs: ClassList, ours: ClassList) -> None:
    """Raises a UserError if a name stands twice on one side, of lists that differ."""
    if len(set(keys)) == len(keys):
        return
    seen: set[str] = set()
    twice = next(key for key in keys if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    raise UserError(
        f"{theirs.owner} lists the classes in another way than {ours.owner}, and they cannot be matched by name:"
        f" {side.owner} {side.has} the name {twice!r} for several classes. Give each class its own name, in one list"
        " for both."
    )


def _unknown_told(names: Sequence[str], file: str, known: ClassList) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN]) + (
        f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    )
    assert known.names is not None
    near = did_you_mean(names[0], known.names)
    meant = f" Did you mean {near!r}?" if near else ""
    what = "a class" if len(names) == 1 else f"{len(names)} classes"
    return (
        f"{file} has images of {what} that {known.owner} {known.does} not know: {shown}.{meant} Take these images out,"
        " or give each class the name that it has there."
    )
