"""The records of a JSON file a block at a time: all at once, as Python objects, they would fill the memory.

A block is cut where a record seems to end. A wrong place cannot go unnoticed: inside of a string or of a record the
text in front of it is no list of whole values, and the parser refuses it. Then the structure of the text says where
records end. So a file is read as a parser reads it that has it whole.
"""

from __future__ import annotations

import hashlib
import io
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from shelfmark.core.errors import UserError
from shelfmark.core.regular_files import open_regular
from shelfmark.core.text_encoding import UTF8_MARK
from shelfmark.data.json_structure import COLON, Structure, entry_starts, skip_blanks
from shelfmark.data.repeated_fields import repeated_fields

BLOCK_BYTES = 1 << 20


class NotStreamed(Exception):  # noqa: N818
    """The file is no JSON object with such a list, or it is damaged: read whole, it gets the error that says so.

    first, begin: the record and its byte from which on the damage was met; None where it is outside of the list.
    """

    def __init__(self, first: int | None = None, begin: int | None = None) -> None:
        super().__init__(first, begin)
        self.first, self.begin = first, begin


class Block(NamedTuple):
    """key: of the list. first: the number of the first record in it, from 0. begin: its byte in the file. text: from
    there to the end of the last record. records: the same, parsed."""

    key: str
    first: int
    begin: int
    text: bytes
    records: list[Any]


class RecordStream:
    """One passage over the lists `keys` of a JSON object. After all `blocks`, `top` and `sha256` are known.

    top: the other members of the object. sha256: of the file's bytes, in hexadecimal.
    """

    def __init__(self, file: Path, *keys: str, block_bytes: int = BLOCK_BYTES) -> None:
        self.file, self.keys, self.block_bytes = file, keys, block_bytes
        self.top: dict[str, Any] = {}
        self.sha256 = ""
        self._places: list[tuple[str, int, int, int, int]] = []

    def blocks(self) -> Iterator[Block]:
        """Raises NotStreamed; a UserError where a member of the object stands twice; and whatever `open` raises."""
        with open_regular(self.file) as stream:
            window = _Window(stream)
            for block in self._members(window):
                self._places.append((block.key, block.first, block.begin, len(block.text), len(block.records)))
                yield block
            self.sha256 = window.digest.hexdigest()

    def bytes_of(self, records: Iterable[int], key: str = "") -> dict[int, int]:
        """The first byte in the file of each of `records` of a list, once all blocks were read. key: '' is the first.

        Records of a file that has changed since may be missing.
        """
        wanted = sorted(set(records))
        found: dict[int, int] = {}
        with open_regular(self.file) as stream:
            for of, first, begin, num_bytes, num_records in self._places:
                if of != (key or self.keys[0]):
                    continue
                here = wanted[bisect_left(wanted, first) : bisect_left(wanted, first + num_records)]
                if here:
                    stream.seek(begin)
                    starts = begin + entry_starts(stream.read(num_bytes))
                    found |= {one: int(starts[one - first]) for one in here if one - first < len(starts)}
        return found

    def _members(self, window: _Window) -> Iterator[Block]:
        window.expect(b"{")
        seen: set[str] = set()
        while True:
            name = window.key()
            if name in seen:
                raise UserError(
                    f"{self.file} has the member {name!r} twice, the second time before byte {window.place:,}. Take one"
                    " out."
                )
            seen.add(name)
            if name in self.keys:
                yield from self._list(window, name)
            else:
                self.top[name], text = window.value()
                if repeated := repeated_fields(b'{"":' + text + b"}", [{"": self.top[name]}]):
                    raise UserError(
                        f"{self.file}: within the member {name!r}, which ends before byte {window.place:,},"
                        f" {repeated[0][1]!r} stands twice in one object. Take one out."
                    )
            if window.next_of(b",}") == b"}":
                break
        window.require_end()
        if not seen.issuperset(self.keys):
            raise NotStreamed

    def _list(self, window: _Window, key: str) -> Iterator[Block]:
        window.expect(b"[")
        num_records, is_last = 0, False
        while not is_last:
            window.skip_blanks()
            begin = window.place
            text, records, is_last = self._next(window, num_records)
            if not records:
                raise NotStreamed(num_records, begin)
            yield Block(key, num_records, begin, text, records)
            num_records += len(records)

    def _next(self, window: _Window, first: int) -> tuple[bytes, list[Any], bool]:
        """The next records, and whether they are the last. The window then stands behind what ends them."""
        window.fill(self.block_bytes)
        guess = window.data.rfind(b"},", window.at, window.at + self.block_bytes) + 1
        if guess:
            text = window.data[window.at : guess]
            records = _parsed(text)
            if records is not None:
                window.at = guess + 1
                return text, records, False
        return self._exactly_next(window, first)

    def _exactly_next(self, window: _Window, first: int) -> tuple[bytes, list[Any], bool]:
        while True:
            structure = Structure(window.data, window.at)
            end, commas = structure.list_end(), structure.commas()
            if end is None and commas.size:
                end, is_last = int(commas[-1]), False
            elif end is not None:
                is_last = True
            elif not window.more():
                raise NotStreamed(first, window.place)
            if end is not None:
                break
        text = window.data[window.at : end]
        records = _parsed(text)
        if records is None or (is_last and window.data[end : end + 1] != b"]"):
            raise NotStreamed(first, window.place)
        window.at = end + 1
        return text, records, is_last


def _parsed(text: bytes) -> list[Any] | None:
    try:
        found: list[Any] = orjson.loads(b"[" + text + b"]")
    except orjson.JSONDecodeError:
        return None
    return found


class _Window:
    """The part of a file that is in memory, and where in it reading stands: `data[at:]` is still to be read."""

    def __init__(self, stream: io.FileIO) -> None:
        self.stream = stream
        self.digest = hashlib.sha256()
        self.data, self.at, self.base = b"", 0, 0
        self.fill(len(UTF8_MARK))
        if self.data.startswith(UTF8_MARK):
            self.at = len(UTF8_MARK)

    @property
    def place(self) -> int:
        """The byte of the file at which reading stands."""
        return self.base + self.at

    def more(self, num_bytes: int = 0) -> bool:
        """Reads at least as many bytes again as there are; False where the file has no more."""
        found = self.stream.read(max(num_bytes, len(self.data) - self.at, 1 << 16))
        if not found:
            return False
        self.digest.update(found)
        self.data, self.base, self.at = self.data[self.at :] + found, self.place, 0
        return True

    def fill(self, num_bytes: int) -> None:
        while len(self.data) - self.at < num_bytes and self.more(num_bytes):
            pass

    def skip_blanks(self) -> None:
        while True:
            self.at = skip_blanks(self.data, self.at)
            if self.at < len(self.data) or not self.more():
                return

    def next_of(self, choices: bytes) -> bytes:
        """The next byte that is no blank, which is one of `choices`."""
        self.skip_blanks()
        found = self.data[self.at : self.at + 1]
        if not found or found not in choices:
            raise NotStreamed
        self.at += 1
        return found

    def expect(self, one: bytes) -> None:
        self.next_of(one)

    def key(self) -> str:
        """The name of the next member; its value is next."""
        end = self._until(Structure.first)
        if self.data[end] != COLON:
            raise NotStreamed
        name = self._loaded(end)
        if not isinstance(name, str):
            raise NotStreamed
        self.at = end + 1
        return name

    def value(self) -> tuple[Any, bytes]:
        """The next value, and its text; what follows it is next."""
        self.skip_blanks()
        end = self._until(Structure.value_end)
        found, text = self._loaded(end), self.data[self.at : end]
        self.at = end
        return found, text

    def require_end(self) -> None:
        self.skip_blanks()
        if self.at < len(self.data):
            raise NotStreamed

    def _until(self, found: Callable[[Structure], int | None]) -> int:
        while True:
            end = found(Structure(self.data, self.at))
            if end is not None:
                return end
            if not self.more():
                raise NotStreamed

    def _loaded(self, end: int) -> Any:
        try:
            return orjson.loads(self.data[self.at : end])
        except orjson.JSONDecodeError:
            raise NotStreamed from None
