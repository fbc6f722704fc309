"""Pictures in a packed copy. Legend: N records."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data.boxes import NOT_INSIDE, Crop
from shelfmark.data.identity import keys_under
from shelfmark.data.sources.files import FileSource
from shelfmark.data.sources.packed_copy import CHANGED, PackedCopy
from shelfmark.data.sources.source import UnreadableImage


@dataclass(frozen=True, eq=False)
class PackedSource:
    """The records of `files`, with the bytes of a packed copy. places: (N,) int64, the picture of each record.

    Names and identities are those of the files, so messages, lists and leaks are the same with and without a copy.
    """

    files: FileSource
    copy: PackedCopy
    places: np.ndarray

    @classmethod
    def of(cls, files: FileSource, copy: PackedCopy, home: Path) -> PackedSource:
        """home: data.root, which the copy's paths are relative to. UserError: the copy lacks a picture."""
        paths = files.paths if isinstance(files.paths, Strings) else Strings.of(files.paths)
        places = copy.places.of(keys_under(home, paths, files.root))
        if (places < 0).any():
            raise _lacks(paths, places, copy)
        return cls(files, copy, places)

    def __len__(self) -> int:
        return len(self.places)

    def read(self, row: int) -> bytes:
        place = int(self.places[row])
        reason = self.copy.reasons.get(place) if self.copy.reasons else None
        if reason is not None:
            raise UnreadableImage(self.name(row), reason, self.copy.advice)
        try:
            return self.copy.read(place)
        except OSError as error:
            raise UnreadableImage(self.name(row), error.strerror or CHANGED, self.copy.advice) from None

    def name(self, row: int) -> str:
        return self.files.name(row)

    def identity(self, row: int) -> str:
        return self.files.identity(row)

    def crop(self, row: int) -> Crop | None:
        """The box and its margin in the pixels of the packed picture, rounded outward. Raises UnreadableImage for a box
        outside of the picture."""
        crop = self.files.crop(row)
        if crop is None:
            return None
        record = self.copy.records[int(self.places[row])]
        full = int(record["full_width"]), int(record["full_height"])
        packed = int(record["width"]), int(record["height"])
        if full == packed or not record["length"]:
            return crop
        try:
            # Of the original, as it is cut out of the original.
            down, across = crop.slices(full)
        except ValueError:
            raise UnreadableImage(self.name(row), NOT_INSIDE) from None
        left, right = _outward(across, full[0], packed[0])
        top, bottom = _outward(down, full[1], packed[1])
        return Crop(left, top, right - left, bottom - top)

    @property
    def unread(self) -> dict[int, str]:
        """Row -> reason, of the pictures that were unreadable when the copy was made."""
        if not self.copy.reasons:
            return {}
        is_bad = np.isin(self.places, np.fromiter(self.copy.reasons, np.int64))
        return {row: self.copy.reasons[int(self.places[row])] for row in np.flatnonzero(is_bad).tolist()}


def _outward(span: slice, full_px: int, packed_px: int) -> tuple[int, int]:
    first = span.start * packed_px // full_px
    return first, max(first + 1, math.ceil(span.stop * packed_px / full_px))


def _lacks(paths: Strings, places: np.ndarray, copy: PackedCopy) -> UserError:
    missing = np.flatnonzero(places < 0)
    return UserError(
        f"data.source: the packed copy {copy.folder} lacks {len(missing):,} of the {len(places):,} images, the first is"
        f" {paths[int(missing[0])]}. It was made of other annotations, or with another data.root. Pack the images of"
        f" this recipe into another folder: shelfmark shrink --config FILE --size {copy.facts['size_px']} --out DIR;"
        " or read the images themselves: data.source=files."
    )
