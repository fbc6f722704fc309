"""Texts that others chose, made safe for places where some characters are commands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

# Control characters but tab and line feed; marks that turn the direction of what follows; halves of surrogate pairs,
# which are bytes of file names that are not UTF-8 and cannot be encoded.
_UNPRINTABLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LINES = re.compile("[\t\n\u2028\u2029]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def printable(text: str, one_line: bool = False) -> str:
    """`text` with the characters that command a terminal written out, an escape as `\\x1b`.

    one_line: write line breaks out too, as for a name.
    """
    text = _UNPRINTABLE.sub(_written_out, text)
    return _LINES.sub(_written_out, text) if one_line else text


def in_line(names: Sequence[str], most: int | None = None) -> str:
    """Names that others chose, divided by commas, for one line of a message: the first `most`, and dots for more."""
    shown = ", ".join(printable(name, one_line=True) for name in names[:most])
    return f"{shown}, ..." if most is not None and len(names) > most else shown


def spreadsheet_cell(value: Any) -> Any:
    """A cell of a CSV file that people open: text that a spreadsheet would run as a formula begins with `'`.

    Numbers, also as text, stay what they are. Not for files that a program reads: it would read the `'` too.
    """
    if isinstance(value, str) and value.startswith(_FORMULA) and not _is_number(value):
        return f"'{value}"
    return value


def _written_out(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode() if match[0] < "\ud800" else _byte(match[0])


def _byte(half: str) -> str:
    code = ord(half)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isprintable()
