"""Pictures that a caller gives: paths of files, and bytes in memory, as of an upload."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shelfmark.data.identity import identities
from shelfmark.data.limits import MAX_BYTES
from shelfmark.data.sources.files import read_file
from shelfmark.data.sources.source import UnreadableImage, require_bytes


@dataclass(frozen=True)
class GivenSource:
    """names: what messages call the pictures. pictures: paths or bytes. max_bytes: larger ones are refused.

    TypeError for a picture of another type, as a path that is text.
    """

    names: Sequence[str]
    pictures: Sequence[Path | bytes]
    max_bytes: int = MAX_BYTES

    def __post_init__(self) -> None:
        if len(self.names) != len(self.pictures):
            raise ValueError(f"{len(self.names)} names for {len(self.pictures)} images")
        for picture in self.pictures:
            if not isinstance(picture, Path | bytes | bytearray):
                raise TypeError(f"a picture is a Path or bytes, not {type(picture).__name__}: {picture!r:.80}")

    def __len__(self) -> int:
        return len(self.pictures)

    def read(self, row: int) -> bytes:
        picture = self.pictures[row]
        if isinstance(picture, Path):
            return read_file(picture, self.max_bytes)
        if len(picture) > self.max_bytes:
            raise UnreadableImage(self.names[row], "more bytes than data.max_image_bytes")
        return require_bytes(picture, self.names[row])

    def name(self, row: int) -> str:
        return self.names[row]

    def identity(self, row: int) -> str:
        picture = self.pictures[row]
        if isinstance(picture, Path):
            return next(identities([str(picture)], Path()))
        # Two uploads may have one name.
        return hashlib.sha256(picture).hexdigest()
