"""Sizes of memory, as they are written and read."""

from __future__ import annotations

import re

from shelfmark.core.errors import UserError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def memory_size(text: str) -> int:
    """The bytes that `16GB`, `16 GiB` or `800MB` stand for. UserError: the text is no size."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", text.lower())
    size = 0
    if found:
        number, unit, binary = found.groups()
        size = int(float(number) * (_BINARY[unit] if binary and unit else _UNITS[unit]))
    if not size:
        raise UserError(f"{text!r} is not a size of memory; write it as 16GB, 24GiB or 800MB.")
    return size


def size_text(size_bytes: float) -> str:
    """A size as people read it: 24.0 GB, 1.5 MB, 800 bytes. One GB is a thousand million bytes."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:,.1f} {unit}"
    return f"{size_bytes:.0f} bytes"
