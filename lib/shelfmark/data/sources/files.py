"""Pictures in files of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shelfmark.core.regular_files import NotRegular, TooLarge, read_regular
from shelfmark.core.strings import Strings
from shelfmark.data.identity import identities
from shelfmark.data.limits import MAX_BYTES
from shelfmark.data.sources.source import UnreadableImage, require_bytes


@dataclass(frozen=True, eq=False)
class FileSource:
    """Files by their paths, as the rows of a table are: `FileSource(table.paths, table.root)`.

    root: what relative paths start from. max_bytes: a larger file is not read.
    """

    paths: Strings | Sequence[str]
    root: Path = Path()
    max_bytes: int = MAX_BYTES

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, row: int) -> bytes:
        return read_file(self.root / self.paths[row], self.max_bytes)

    def name(self, row: int) -> str:
        return str(self.root / self.paths[row])

    def identity(self, row: int) -> str:
        return next(identities([self.paths[row]], self.root))


def read_file(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
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
