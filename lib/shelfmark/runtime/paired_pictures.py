"""The pictures that several runs answered: the same ones, in the same order, with classes of one numbering.

Legend: N pictures in common, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.wording import counted
from shelfmark.data.class_map import ClassList, with_new_behind
from shelfmark.data.identity import record_identities
from shelfmark.data.table import Table


@dataclass(frozen=True)
class PairedPictures:
    """places: for each run (N,) int64, where the pictures stand among its own, in the order of the first run's.

    by: `file`, or `image_id` where the runs have no file in common. num_left_out: for each run, its pictures that
    another run lacks. num_other_label: pictures of all runs that are left out because their annotations disagree.
    """

    by: str
    places: tuple[np.ndarray, ...]
    num_left_out: tuple[int, ...]
    num_other_label: int = 0

    def __len__(self) -> int:
        return len(self.places[0])

    def of_one_label(self, labels: Sequence[np.ndarray]) -> PairedPictures:
        """Without the pictures that have no label, or another one in another run. labels: of each run's pictures, in
        one numbering."""
        rows = np.stack([own[places] for own, places in zip(labels, self.places)])
        is_labelled = (rows >= 0).all(axis=0)
        is_same = is_labelled & (rows == rows[0]).all(axis=0)
        places = tuple(one[is_same] for one in self.places)
        return PairedPictures(self.by, places, self.num_left_out, int((is_labelled & ~is_same).sum()))


def paired_pictures(tables: Sequence[Table], rows: Sequence[np.ndarray], what: str) -> PairedPictures:
    """The pictures that every run has. tables: of each run; rows: those of its table that it answered.

    A picture is its file, however its path is spelled, and its box. If no file is in all runs, as after a move to
    another machine, the pictures' ids decide. what: for the message, as `validation images`. UserError: there is no
    such picture.
    """
    chosen = [table.take(own) for table, own in zip(tables, rows)]
    by_file = _common([_numbered(record_identities(table.paths, table.root, table.boxes)) for table in chosen])
    if len(by_file[0]):
        return _paired("file", by_file, chosen)
    by_id = _common([_numbered(table.image_ids) for table in chosen])
    if not len(by_id[0]):
        counts = ", ".join(counted(len(table), "image") for table in chosen)
        raise UserError(
            f"the runs have no {what} in common, by file or by image_id ({counts}), so there is nothing to compare them"
            " on. Give all of them the same images, as data.val_json=FILE."
        )
    return _paired("image_id", by_id, chosen)


def common_classes(classes: Sequence[ClassList]) -> tuple[list[np.ndarray], ClassList]:
    """For each run (C of the run,) int64, the number of each of its classes in one list of all; and the list.

    Classes are the same by name. UserError: see `data.class_map.class_numbers`.
    """
    known = classes[0]
    numbers = [np.arange(known.num_classes)]
    for one in classes[1:]:
        own, known = with_new_behind(one, known)
        numbers.append(own)
    return numbers, known


def _paired(by: str, places: Sequence[np.ndarray], tables: Sequence[Table]) -> PairedPictures:
    return PairedPictures(by, tuple(places), tuple(len(table) - len(places[0]) for table in tables))


def _numbered(keys: Iterable[str]) -> dict[tuple[str, int], int]:
    """The place of each key; one that stands several times is told apart by how often it came before."""
    found: dict[tuple[str, int], int] = {}
    times: dict[str, int] = {}
    for place, key in enumerate(keys):
        time = times.get(key, 0)
        times[key] = time + 1
        found[key, time] = place
    return found


def _common(places: Sequence[dict[tuple[str, int], int]]) -> list[np.ndarray]:
    keys = [key for key in places[0] if all(key in other for other in places[1:])]
    return [np.array([own[key] for key in keys], dtype=np.int64) for own in places]
