"""Bytes of regular files alone: reading a named pipe could wait for ever, and a device may have no end."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from pathlib import Path

_AT_ONCE = 1 << 16


class NotRegular(OSError):  # noqa: N818
    """The path is that of a named pipe, a socket or a device; `strerror` says which."""


class TooLarge(OSError):  # noqa: N818
    """A file has more bytes than were allowed."""


def read_regular(path: Path | str, max_bytes: int | None = None) -> bytes:
    """The bytes of a regular file, to which `path` may be a link.

    Raises NotRegular, TooLarge above `max_bytes`, IsADirectoryError, and whatever else `open` raises.
    """
    descriptor, size = _opened(path)
    try:
        if max_bytes is None:
            max_bytes = sys.maxsize
        if size > max_bytes:
            raise TooLarge(0, f"more than {max_bytes:,} bytes", str(path))
        # One byte more than there should be tells a file that has grown; a raw read may stop early.
        parts = [os.read(descriptor, size + 1)]
        size = len(parts[0])
        while parts[-1] and size <= max_bytes:
            parts.append(os.read(descriptor, _AT_ONCE))
            size += len(parts[-1])
    finally:
        os.close(descriptor)
    if size > max_bytes:
        raise TooLarge(0, f"more than {max_bytes:,} bytes", str(path))
    return parts[0] if len(parts) < 3 else b"".join(parts)


def open_regular(path: Path | str) -> io.FileIO:
    """A regular file, to which `path` may be a link, opened to read unbuffered. Raises NotRegular, or as `open`."""
    return open(_opened(path)[0], "rb", buffering=0)


def _opened(path: Path | str) -> tuple[int, int]:
    """Descriptor and size of a regular file."""
    # Without O_NONBLOCK the opening of a pipe waits for a writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | os.O_CLOEXEC)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise NotRegular(0, "not a regular file", str(path))
    return descriptor, found.st_size
