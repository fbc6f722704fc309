"""The pictures of all annotation files, each once, and where each is listed. Legend: N pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from shelfmark.core.strings import Strings
from shelfmark.data.identity import identities
from shelfmark.data.table import Table

TRAIN = "train"


@dataclass(frozen=True, eq=False)
class Listings:
    """tables: by split; `train` is one of them. paths: (N,) absolute.

    picture, split, row: (listings,) int64, the picture of each, the place of its table in `tables`, its row there.
    classes: the names of the splits whose labels mean the same classes; those of another split are compared with
    themselves alone.
    """

    tables: Mapping[str, Table]
    paths: Strings
    picture: np.ndarray
    split: np.ndarray
    row: np.ndarray
    classes: frozenset[str]

    @classmethod
    def of(cls, tables: Mapping[str, Table], classes: frozenset[str]) -> Listings:
        """Two rows are one picture if they name the same file."""
        numbers: dict[str, int] = {}
        pictures = [
            np.fromiter(
                (numbers.setdefault(one, len(numbers)) for one in identities(table.paths, table.root)), np.int64
            )
            for table in tables.values()
        ]
        splits = [np.full(len(table), place) for place, table in enumerate(tables.values())]
        rows = [np.arange(len(table)) for table in tables.values()]
        picture, split, row = (np.concatenate(one) for one in (pictures, splits, rows))
        return cls(tables, Strings.of(numbers), picture, split, row, classes)

    @property
    def splits(self) -> list[str]:
        return list(self.tables)

    @cached_property
    def labels(self) -> np.ndarray:
        """(listings,) int64: the label of each listing, -1 for none."""
        return np.concatenate([table.labels for table in self.tables.values()])

    @cached_property
    def spaces(self) -> np.ndarray:
        """(listings,) int64: labels of equal numbers are comparable; 0 for all of `classes`."""
        own = [0 if name in self.classes else place + 1 for place, name in enumerate(self.tables)]
        return np.array(own)[self.split]

    def of_picture(self, picture: int) -> np.ndarray:
        """The listings of a picture, in the order of the splits and their rows."""
        order, begins = self._by_picture
        return order[begins[picture] : begins[picture + 1]]

    def is_in(self, split: str) -> np.ndarray:
        """(N,) bool: whether a picture is listed there."""
        found = np.zeros(len(self.paths), bool)
        if split in self.tables:
            found[self.picture[self.split == self.splits.index(split)]] = True
        return found

    def image_id(self, listing: int) -> str:
        table = self.tables[self.splits[self.split[listing]]]
        return table.image_ids[int(self.row[listing])]

    def class_name(self, listing: int) -> str:
        """The name of a listing's class, or its number; empty without a label."""
        table, label = self.tables[self.splits[self.split[listing]]], int(self.labels[listing])
        if label < 0:
            return ""
        return table.class_names[label] if table.class_names else str(label)

    def train_labels(self) -> np.ndarray:
        """(N,) int64: the label of each picture in train, -1 of others; the first one where there are several."""
        found = np.full(len(self.paths), -1, np.int64)
        rows = np.flatnonzero(self.split == self.splits.index(TRAIN))[::-1]
        found[self.picture[rows]] = self.labels[rows]
        return found

    @cached_property
    def _by_picture(self) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(self.picture, kind="stable")
        return order, np.searchsorted(self.picture[order], np.arange(len(self.paths) + 1))
