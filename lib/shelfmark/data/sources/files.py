"""Pictures in files of their own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shelfmark.core.regular_files import NotRegular, TooLarge, read_regular
from shelfmark.core.strings import Strings
from shelfmark.data.boxes import Crop, box_texts, crop_of
from shelfmark.data.identity import record_identities
from shelfmark.data.limits import MAX_BYTES
from shelfmark.data.sources.source import UnreadableImage, require_bytes
from shelfmark.data.table import Table


@dataclass(frozen=True, eq=False)
class FileSource:
    """Files by their paths, as the rows of a table are.

    root: what relative paths start from. max_bytes: a larger file is not read. boxes: (N, 4) as of a `Table`; a row's
    picture is its box then, with `box_margin` of its sides around it.
    """

    paths: Strings | Sequence[str]
    root: Path = Path()
    max_bytes: int = MAX_BYTES
    boxes: np.ndarray | None = None
    box_margin: float = 0.0

    @classmethod
    def of(cls, table: Table, max_bytes: int = MAX_BYTES, box_margin: float = 0.0) -> FileSource:
        """The pictures of a table."""
        return cls(table.paths, table.root, max_bytes, table.boxes, box_margin)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, row: int) -> bytes:
        return read_file(self._place(row), self.max_bytes)

    def name(self, row: int) -> str:
        return self._place(row) + self._box_text(row)

    def identity(self, row: int) -> str:
        return next(record_identities([self.paths[row]], self.root, self._box(row)))

    def crop(self, row: int) -> Crop | None:
        return None if self.boxes is None else crop_of(self.boxes[row], self.box_margin)

    def _place(self, row: int) -> str:
        return path_text(self.root, self.paths[row])

    def _box(self, row: int) -> np.ndarray | None:
        return None if self.boxes is None else self.boxes[row : row + 1]

    def _box_text(self, row: int) -> str:
        box = self._box(row)
        return "" if box is None else next(box_texts(box))


def path_text(root: Path, path: str) -> str:
    """`str(root / path)`, which takes a worker as long as it takes to read a small file."""
    # What is left to pathlib: no name, parts that it leaves out, and systems with another separator.
    if os.sep != "/" or path[-1:] in "/." or "//" in path or "./" in path:
        return str(root / path)
    if path[0] == "/":
        return path
    begin = str(root)
    if begin == ".":
        return path
    return begin + path if begin[-1] == "/" else f"{begin}/{path}"


def read_file(path: Path | str, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of a picture's file, whose size is looked at before it is read. Raises UnreadableImage."""
    name = str(path)
    try:
        data = read_regular(path, max_bytes)
    except FileNotFoundError:
        raise UnreadableImage(name, "missing") from None
    except PermissionError:
        raise UnreadableImage(name, "no permission") from None
    except IsADirectoryError:
        raise UnreadableImage(name, "a folder, not a file") from None
    except NotRegular:
        raise UnreadableImage(name, "not a regular file") from None
    except TooLarge:
        raise UnreadableImage(name, "more bytes than data.max_image_bytes") from None
    except OSError as error:
        raise UnreadableImage(name, f"the system says: {error.strerror}") from None
    except ValueError:
        raise UnreadableImage(name, "a path with a NUL character") from None
    return require_bytes(data, name)
