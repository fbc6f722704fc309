"""What the doctor found, one kind of fault after the other. Legend: N pictures, C classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.doctor.listings import Listings

KINDS = {
    "unreadable": ("cannot be read", "image"),
    "exact_copies": ("the same pixels in several files", "group"),
    "near_copies": ("saved anew, resized, cropped, mirrored or recoloured", "group"),
    "leaks": ("in training and in an evaluation", "group"),
    "two_labels": ("copies under two labels", "group"),
    "doubtful_labels": ("the label fits the features badly", "image"),
    "one_product": ("two labels that seem to be one product", "pair"),
    "blank": ("one colour", "image"),
    "dark": ("too dark", "image"),
    "bright": ("too bright", "image"),
    "blurred": ("blurred", "image"),
    "tiny": ("enlarged more than twice for the network", "image"),
    "odd_shape": ("longer side over three times the shorter one", "image"),
    "few_images": ("classes with fewer than 5 different training images", "class"),
}
"""Every kind in the order in which it is told: what it is, in words, and what is counted."""


@dataclass(frozen=True)
class Culprits:
    """Pictures, or a class, that belong together in one finding. pictures: the first stands for the others.

    title, facts: what the page says of them. notes: what it says of each picture. rows: their lines of the CSV file.
    """

    pictures: tuple[int, ...]
    rows: tuple[tuple[Any, ...], ...]
    title: str = ""
    facts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One kind of fault. name: of KINDS. columns: of the CSV file. why_not: why it was not looked for, else ""."""

    name: str
    columns: tuple[str, ...] = ()
    culprits: Sequence[Culprits] = ()
    why_not: str = ""

    @property
    def title(self) -> str:
        return KINDS[self.name][0]

    @property
    def unit(self) -> str:
        return KINDS[self.name][1]

    @property
    def num_images(self) -> int:
        """Different pictures among the culprits."""
        return len({picture for one in self.culprits for picture in one.pictures})


@dataclass(frozen=True)
class Fixed:
    """What `--fix` wrote. annotations: the new file by option, such as `data.train_json`. num_dropped: records that are
    left out, by option. drop_list: the ids of those of train. emptied: classes that lost their last training image."""

    folder: Path
    annotations: dict[str, Path]
    num_dropped: dict[str, int]
    drop_list: Path
    emptied: tuple[str, ...]
    command: str

    def as_json(self) -> dict[str, Any]:
        return {
            "folder": self.folder,
            "annotations": [{"option": option, "file": file} for option, file in self.annotations.items()],
            "dropped": [{"option": option, "num": number} for option, number in self.num_dropped.items()],
            "drop_list": self.drop_list,
            "emptied": list(self.emptied),
            "command": self.command,
        }


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """folder: of the CSV files and the page. counts: (C,) different readable training images a class.

    promised: hashes that differ in no more bits are surely compared.
    """

    folder: Path
    listings: Listings
    findings: Sequence[Finding]
    counts: np.ndarray
    promised: int
    fixed: Fixed | None = None
    page: Path | None = None
    files: dict[str, Path] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Numbers, files, and the first culprits of each kind."""
        return {
            "folder": self.folder,
            "page": self.page,
            "num_images": len(self.listings.paths),
            "splits": [{"split": name, "num_images": len(table)} for name, table in self.listings.tables.items()],
            "findings": [self._finding(one) for one in self.findings],
            "classes": self.class_sizes(),
            "fixed": None if self.fixed is None else self.fixed.as_json(),
        }

    def class_sizes(self) -> dict[str, Any]:
        """Different training images of a class: the fewest, the median, the most."""
        sizes = self.counts if len(self.counts) else np.zeros(1)
        return {
            "num": len(self.counts),
            "fewest": int(sizes.min()),
            "median": float(np.median(sizes)),
            "most": int(sizes.max()),
        }

    def _finding(self, one: Finding) -> dict[str, Any]:
        return {
            "kind": one.name,
            "num": None if one.why_not else len(one.culprits),
            "unit": one.unit,
            "num_images": one.num_images,
            "file": self.files.get(one.name),
            "why_not": one.why_not or None,
            "first": [[self.listings.paths[picture] for picture in group.pictures] for group in one.culprits[:_SHOWN]],
        }


_SHOWN = 3
