"""The body of a request, counted while it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from shelfmark.serving.limits import Limits
from shelfmark.serving.multipart import files_of, is_multipart
from shelfmark.serving.refusals import ClientGone, Refused, busy

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
"""ASGI's: the next part of a body."""


class Room:
    """The bytes of all bodies that are held at the same time."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.held_bytes = most_bytes, 0

    @contextmanager
    def body(self) -> Iterator[Body]:
        """A body, whose bytes count as long as the block lasts."""
        body = Body(self)
        try:
            yield body
        finally:
            self.held_bytes -= len(body.data)


class Body:
    """data: what has come of a body."""

    def __init__(self, room: Room) -> None:
        self.room, self.data = room, bytearray()

    async def read(self, receive: Receive, headers: Mapping[str, str], limits: Limits) -> bytes:
        """All of it. Raises `Refused`: too large, too slow, no room; `ClientGone`."""
        declared = headers.get("content-length", "0")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Refused(415, "wrong_encoding", "A compressed body is not read; send the bytes as they are.")
        if int(declared) > limits.body_bytes:
            raise _too_large(limits)
        try:
            async with asyncio.timeout(limits.body_s):
                while await self._read_more(receive, limits):
                    pass
        except TimeoutError:
            raise Refused(408, "too_slow", f"The body did not come within {limits.body_s:g} seconds.") from None
        return bytes(self.data)

    async def _read_more(self, receive: Receive, limits: Limits) -> bool:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        if len(self.data) + len(part) > limits.body_bytes:
            raise _too_large(limits)
        if self.room.held_bytes + len(part) > self.room.most_bytes:
            raise busy()
        self.room.held_bytes += len(part)
        self.data += part
        return bool(message.get("more_body", False))


def pictures_of(content_type: str, body: bytes, limits: Limits) -> list[bytes]:
    """The pictures of a body: the files of a form, or the body itself, whatever type the client calls it."""
    pictures = files_of(content_type, body, limits.pictures) if is_multipart(content_type) else [body]
    if not any(pictures):
        raise Refused(400, "no_picture", "There is no picture: send its bytes, or a form with the field `file`.")
    return pictures


def _too_large(limits: Limits) -> Refused:
    return Refused(413, "too_large", f"The body has more than {limits.body_bytes / 1e6:g} MB.")
