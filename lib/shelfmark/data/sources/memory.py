"""Pictures that are in memory already, as uploads are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from shelfmark.data.sources.source import MAX_BYTES, UnreadableImage, require_bytes


@dataclass(frozen=True)
class MemorySource:
    """names: what messages call the pictures. contents: their bytes. max_bytes: larger ones are refused."""

    names: Sequence[str]
    contents: Sequence[bytes]
    max_bytes: int = MAX_BYTES

    def __post_init__(self) -> None:
        if len(self.names) != len(self.contents):
            raise ValueError(f"{len(self.names)} names for {len(self.contents)} pictures")

    def __len__(self) -> int:
        return len(self.contents)

    def read(self, row: int) -> bytes:
        data = self.contents[row]
        if len(data) > self.max_bytes:
            raise UnreadableImage(self.names[row], "more bytes than data.max_image_bytes")
        return require_bytes(data, self.names[row])

    def name(self, row: int) -> str:
        return self.names[row]

    def identity(self, row: int) -> str:
        # Two uploads may have one name.
        return hashlib.sha256(self.contents[row]).hexdigest()
