"""The files of a `multipart/form-data` body, in memory. What a client calls its files is not read."""

from __future__ import annotations

import re

from shelfmark.serving.refusals import Refused

_BOUNDARY = re.compile(
    r"""multipart/form-data\s*;.*?\bboundary=(?:"([^"\r\n]{1,70})"|([^\s;,"]{1,70}))""", re.IGNORECASE
)
_NAME = re.compile(
    rb'^content-disposition:\s*form-data\s*;[^\r\n]*?\bname="?([^";\r\n]*)"?', re.IGNORECASE | re.MULTILINE
)
_MOST_PART_HEAD = 4096
FIELD = b"file"


def is_multipart(content_type: str) -> bool:
    return content_type.strip().lower().startswith("multipart/")


def files_of(content_type: str, body: bytes, most: int) -> list[bytes]:
    """The contents of the parts called `file`, in their order. Raises `Refused`.

    most: how many there may be. Parts with other names are not looked at, but count as long as they are parts.
    """
    found = _BOUNDARY.match(content_type.strip())
    if not found:
        raise _wrong("The Content-Type is no multipart/form-data with a boundary of at most 70 characters.")
    boundary = b"--" + (found[1] or found[2]).encode("latin-1", "replace")
    # The first boundary stands at the beginning of the body, each further one on a line of its own.
    parts = (b"\r\n" + body).split(b"\r\n" + boundary, 2 * most + 3)
    if len(parts) < 3 or not parts[-1].startswith(b"--"):
        many = len(parts) > 2 * most + 3
        raise too_many(most) if many else _wrong("The multipart body has no end: it was cut off, or is not one.")
    files = [content for name, content in map(_part, parts[1:-1]) if name == FIELD]
    if len(files) > most:
        raise too_many(most)
    return files


def too_many(most: int) -> Refused:
    return Refused(413, "too_many_pictures", f"One request has at most {most} pictures.")


def _part(part: bytes) -> tuple[bytes, bytes]:
    """The name of a part and its content."""
    # Blanks may stand behind a boundary.
    head, separator, content = part.lstrip(b" \t").partition(b"\r\n\r\n")
    if not head.startswith(b"\r\n") or not separator or len(head) > _MOST_PART_HEAD:
        raise _wrong("A part of the multipart body has no head.")
    name = _NAME.search(head)
    return (name[1] if name else b""), content


def _wrong(message: str) -> Refused:
    return Refused(400, "wrong_body", message)
