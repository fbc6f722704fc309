"""Bytes of regular files alone: reading a named pipe could wait for ever, and a device may have no end."""

from __future__ import annotations

import errno
import io
import os
import stat
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
    with open_regular(path) as stream:
        found = os.fstat(stream.fileno())
        if max_bytes is None:
            return stream.readall()
        if found.st_size > max_bytes:
            raise TooLarge(0, f"more than {max_bytes:,} bytes", str(path))
        # One byte more than there should be tells a file that has grown; a raw read may stop early.
        parts = [stream.read(found.st_size + 1) or b""]
        size = len(parts[0])
        while size <= max_bytes and (more := stream.read(_AT_ONCE)):
            parts.append(more)
            size += len(more)
    if size > max_bytes:
        raise TooLarge(0, f"more than {max_bytes:,} bytes", str(path))
    return parts[0] if len(parts) == 1 else b"".join(parts)


def open_regular(path: Path | str) -> io.FileIO:
    """A regular file, to which `path` may be a link, opened to read unbuffered. Raises NotRegular, or as `open`."""
    # Without O_NONBLOCK the opening of a pipe waits for a writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise NotRegular(0, "not a regular file", str(path))
    return open(descriptor, "rb", buffering=0)
