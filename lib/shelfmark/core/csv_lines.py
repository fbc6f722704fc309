"""CSV files with line feeds at the ends of their lines."""

from __future__ import annotations

import csv
from typing import Any, Protocol


class _Writable(Protocol):
    def write(self, text: str, /) -> Any: ...


def line_feed_writer(stream: _Writable) -> Any:
    """A `csv.writer` whose lines end with a line feed. A cell with a carriage return is quoted.

    With `lineterminator="\\n"` csv would write such a cell bare, and every reader would begin a new line there.
    """
    return csv.writer(_LineFeeds(stream))


class _LineFeeds:
    """csv's writer calls `write` once for each row."""

    def __init__(self, stream: _Writable) -> None:
        self._stream = stream

    def write(self, row: str) -> None:
        self._stream.write(f"{row.removesuffix(chr(13) + chr(10))}\n")
