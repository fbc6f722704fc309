"""What passes between the service and a decoding process: a head of JSON and bytes, each after its length.

Eight bytes: the length of the head, then that of the content, both little-endian.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

_LENGTHS = struct.Struct("<II")
Head = dict[str, Any]


def frame(head: Mapping[str, Any], content: bytes = b"") -> tuple[bytes, bytes]:
    """The two parts to be written, one after the other."""
    text = json.dumps(head).encode()
    return _LENGTHS.pack(len(text), len(content)) + text, content


def write_frame(stream: BinaryIO, head: Mapping[str, Any], content: bytes = b"") -> None:
    for part in frame(head, content):
        stream.write(part)
    stream.flush()


def read_frame(stream: BinaryIO) -> tuple[Head, bytes] | None:
    """Head and content; None at the end of the stream."""
    lengths = stream.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    head_bytes, content_bytes = _LENGTHS.unpack(lengths)
    return json.loads(stream.read(head_bytes)), stream.read(content_bytes)


async def next_frame(stream: asyncio.StreamReader) -> tuple[Head, bytes]:
    """As `read_frame`, in an event loop. Raises asyncio.IncompleteReadError at the end of the stream."""
    head_bytes, content_bytes = _LENGTHS.unpack(await stream.readexactly(_LENGTHS.size))
    return json.loads(await stream.readexactly(head_bytes)), await stream.readexactly(content_bytes)
