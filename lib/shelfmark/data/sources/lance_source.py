"""Pictures in a Lance dataset. Legend: N records."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data.boxes import Crop
from shelfmark.data.identity import keys_under
from shelfmark.data.sources.files import FileSource
from shelfmark.data.sources.lance_images import LanceImages
from shelfmark.data.sources.lance_package import lance_told
from shelfmark.data.sources.source import UnreadableImage, require_bytes

ADVICE = (
    "Repair their files, and write another dataset by `shelfmark to-lance --config FILE --out DIR`; or take them out of"
    " the annotations"
)
"""What to do about pictures of a dataset that cannot be read."""


@dataclass(frozen=True, eq=False)
class LanceSource:
    """The records of `files`, with the bytes of a Lance dataset. places: (N,) int64, the dataset's row of each record.

    Names and identities are those of the files. What is pickled has no paths: they are most of a table, and each
    process that reads would get a copy; a name is then looked up in the dataset. home: data.root.
    """

    files: FileSource
    images: LanceImages
    places: np.ndarray
    home: Path
    _fetched: dict[int, bytes | None] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, files: FileSource, images: LanceImages, home: Path) -> LanceSource:
        """UserError: the dataset lacks a picture."""
        paths = files.paths if isinstance(files.paths, Strings) else Strings.of(files.paths)
        places = images.places.of(keys_under(home, paths, files.root))
        missing = np.flatnonzero(places < 0)
        if len(missing):
            raise UserError(
                f"data.source: the Lance dataset {images.uri} lacks {len(missing):,} of the {len(places):,} images, the"
                f" first is {paths[int(missing[0])]}. It was made of other annotations, or with another data.root."
                " Write the images of this recipe into another one: shelfmark to-lance --config FILE --out DIR; or"
                " read the images themselves: data.source=files."
            )
        return cls(files, images, places, home)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        paths = _StoredPaths(self.images, self.places)
        return LanceSource, (replace(self.files, paths=paths, root=self.home), self.images, self.places, self.home)

    def __len__(self) -> int:
        return len(self.places)

    def fetch(self, rows: Sequence[int]) -> None:
        """Asks for several pictures at once; what was fetched before is given up."""
        self._fetched.clear()
        places = [int(self.places[row]) for row in rows]
        different = sorted(set(places))
        # What is wrong is told of each picture, when it is read.
        with suppress(OSError, ValueError, RuntimeError):
            found = dict(zip(different, self.images.take(different)))
            self._fetched.update((row, found[place]) for row, place in zip(rows, places))

    def read(self, row: int) -> bytes:
        try:
            data = self._fetched[row] if row in self._fetched else self.images.take([int(self.places[row])])[0]
        except (OSError, ValueError, RuntimeError) as error:
            reason = f"the Lance dataset says: {lance_told(error)}"
            raise UnreadableImage(self.name(row), reason) from None
        if data is None:
            reason = self.images.reasons.get(int(self.places[row]), "no bytes")
            raise UnreadableImage(self.name(row), reason, ADVICE)
        if len(data) > self.files.max_bytes:
            raise UnreadableImage(self.name(row), "more bytes than data.max_image_bytes")
        # A name may have to be looked up.
        return data or require_bytes(data, self.name(row))

    def name(self, row: int) -> str:
        return self.files.name(row)

    def identity(self, row: int) -> str:
        return self.files.identity(row)

    def crop(self, row: int) -> Crop | None:
        return self.files.crop(row)

    @property
    def unread(self) -> dict[int, str]:
        """Row -> reason, of the pictures that were unreadable when the dataset was written."""
        is_bad = np.isin(self.places, np.fromiter(self.images.reasons, np.int64))
        return {row: self.images.reasons[int(self.places[row])] for row in np.flatnonzero(is_bad).tolist()}


class _StoredPaths(Sequence[str]):
    """The paths of N records, each read from the dataset when it is asked for."""

    def __init__(self, images: LanceImages, places: np.ndarray) -> None:
        self._images, self._places = images, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, row: Any) -> Any:
        return self._images.path(int(self._places[row]))
