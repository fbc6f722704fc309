"""Text from bytes: UTF-8 with or without a mark in front; for any other encoding an error that says which it seems."""

from __future__ import annotations

import re

UTF8_MARK = b"\xef\xbb\xbf"
_MARKS = (
    (b"\xff\xfe\0\0", "UTF-32", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32", "UTF-32"),
    (b"\xff\xfe", "UTF-16", "UTF-16"),
    (b"\xfe\xff", "UTF-16", "UTF-16"),
)
_LOOKED_AT = 1 << 16
_LETTERS = re.compile(rb"[\x80-\xff]+")


class NotUtf8(ValueError):  # noqa: N818
    """A text file has another encoding. The text of the error says which it seems to be, and how to convert it.

    line: the first that is not UTF-8, from 1. byte: its first such byte, from 0.
    """

    def __init__(self, raw: bytes) -> None:
        name, tool = other_encoding(raw) or ("no text", "")
        next_step = f" Save it as UTF-8, or convert it: `iconv -f {tool} -t UTF-8 OLD > NEW`." if tool else ""
        super().__init__(f"not UTF-8 text; it seems to be {name}.{next_step}")
        try:
            raw.decode("utf-8")
            self.line, self.byte = 1, 0
        except UnicodeDecodeError as error:
            self.line, self.byte = raw.count(b"\n", 0, error.start) + 1, error.start


def utf8_text(raw: bytes) -> str:
    """The text of a file, without the mark that Windows programs begin it with. Raises NotUtf8."""
    try:
        text = raw.removeprefix(UTF8_MARK).decode("utf-8")
    except UnicodeDecodeError:
        raise NotUtf8(raw) from None
    # UTF-16 of plain letters decodes as UTF-8 with a zero behind each.
    if "\0" in text[:_LOOKED_AT] and other_encoding(raw):
        raise NotUtf8(raw)
    return text


def has_other_bytes(name: str) -> bool:
    """Whether the name of a file, as Python lists it, has bytes that are not UTF-8: no text file can hold it."""
    return not name.isascii() and any("\udc80" <= letter <= "\udcff" for letter in name)


def other_encoding(raw: bytes) -> tuple[str, str] | None:
    """The encoding that the bytes seem to have, for people and for iconv; None where they may be UTF-8."""
    for mark, name, tool in _MARKS:
        if raw.startswith(mark):
            return name, tool
    part = raw[:_LOOKED_AT]
    if b"\0" in part and (found := _of_zeros(part)):
        return found
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return _of_letters(raw)
    return None


def _of_zeros(part: bytes) -> tuple[str, str] | None:
    """In UTF-16 every other byte of Western text is 0."""
    even, odd = part[::2].count(0), part[1::2].count(0)
    if max(even, odd) * 4 > len(part) and min(even, odd) * 8 < max(even, odd):
        return ("UTF-16 without a mark", "UTF-16LE" if odd > even else "UTF-16BE")
    return None


def _of_letters(raw: bytes) -> tuple[str, str]:
    runs = _LETTERS.findall(raw)
    # An accented letter stands alone. A character of an Asian script has two bytes, and others beside it.
    if sum(map(len, runs)) >= 2.5 * len(runs):
        for name, tool in (("GB18030 (Chinese)", "GB18030"), ("Shift JIS (Japanese)", "SHIFT_JIS")):
            try:
                raw.decode(tool)
            except UnicodeDecodeError:
                continue
            return name, tool
    if any(0x80 <= byte < 0xA0 for run in runs for byte in run):
        return "Windows-1252 or another Windows code page", "WINDOWS-1252"
    return "Latin-1 or Windows-1252", "WINDOWS-1252"
