"""Classes kept out of training, to stand for products that nobody has seen. Legend: N images, C classes."""

from __future__ import annotations

import math

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.log import say, warn
from shelfmark.core.rng import numpy_generator
from shelfmark.core.text_safety import in_line
from shelfmark.data.table import Table


def open_set_classes(table: Table, share: float, seed: int) -> np.ndarray:
    """(classes,) int64, rising: whole groups that hold about `share` of the classes with images, and no more of them;
    one group at least. Without groups, single classes.

    seed: which. A class without a group is a group of its own. UserError: nothing would be left to train on.
    """
    if not share:
        return np.empty(0, dtype=np.int64)
    present = np.flatnonzero(table.counts)
    groups = _groups(table, present)
    names = sorted(set(groups))
    if len(names) < 2:
        raise UserError(
            f"data.open_set_classes={share:g} keeps whole groups out of training, and there is one group alone. Give"
            " the annotations more `groups`, or set data.open_set_classes=0."
        )
    of_group = {name: present[[one == name for one in groups]] for name in names}
    order = [names[place] for place in numpy_generator(seed, "open set classes").permutation(len(names))]
    room, held = math.floor(share * len(present) + 1e-9), list[int]()
    for name in order:
        if len(held) + len(of_group[name]) <= room and len(held) + len(of_group[name]) < len(present):
            held += of_group[name].tolist()
    # Of groups that are all too large, the smallest.
    return np.sort(np.array(held or of_group[min(order, key=lambda name: len(of_group[name]))], dtype=np.int64))


def without_classes(table: Table, classes: np.ndarray) -> Table:
    """The table without the images of these classes, which keep their numbers."""
    return table.take(~np.isin(table.labels, classes)) if len(classes) else table


def tell_open_set(table: Table, held: np.ndarray) -> None:
    """Says which classes are kept out. table: with the images of all classes."""
    if not len(held):
        return
    named = [table.class_names[label] if table.class_names else str(label) for label in held[:4].tolist()]
    num_images = int(table.counts[held].sum())
    say(
        f"data.open_set_classes: {len(held)} classes with {num_images:,} images are kept out of training and"
        f" validation: {in_line(named, 3)}"
    )
    if table.groups is None:
        warn(
            "the annotations have no `groups`, so single classes are kept out. Classes that look like them are trained;"
            " whether such a product is refused says little about products of another kind"
        )


def _groups(table: Table, classes: np.ndarray) -> list[str]:
    """The group of each of the classes."""
    if table.groups is None:
        return [f"class {label}" for label in classes.tolist()]
    return [table.groups[label] or f"class {label}" for label in classes.tolist()]
