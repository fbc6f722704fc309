"""Connections whose clients take too long, or are too many. uvicorn has no limits for these.

A connection waits for its client in one of five ways. The longest that a client may take for each is in `Limits`; how
little it sends at a time makes no difference.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from shelfmark.serving.limits import Limits

IDLE, HEAD, BODY, REST, READER = "idle", "head", "body", "rest", "reader"
_TICK_S = 0.25
# The service answers 408 at the limit itself; a connection is broken off where that answer is not possible.
_AFTER_S = 2.0
_BUSY_HEAD = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n"
)
_BUSY = b'{"error": {"code": "busy", "message": "There are too many connections. Ask again."}}'
_NOT_HTTP = {"error": {"code": "wrong_request", "message": "That is no HTTP/1.1 request that the service reads."}}


class Connection(H11Protocol):
    """A connection that knows what it waits for."""

    limits = Limits()

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        # The guard writes the log: uvicorn's would hold what clients chose.
        self.access_log = False
        self.num_requests = 0
        self.rest_bytes = 0
        self._waits_for: tuple[str, int] | None = None
        self.waits_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.waits_since = self.loop.time()
        if len(self.connections) > self.limits.connections and not self._make_room():
            transport.write(_BUSY_HEAD % len(_BUSY) + _BUSY)
            transport.close()

    def data_received(self, data: bytes) -> None:
        if self._waits() == REST:
            self.rest_bytes += len(data)
        super().data_received(data)

    def on_response_complete(self) -> None:
        self.num_requests += 1
        self.rest_bytes = 0
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        body = json.dumps(_NOT_HTTP).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"connection", b"close"),
        ]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            answer = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
            for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def look(self, now: float) -> None:
        """Breaks the connection off if its client has taken too long."""
        waits = self._waits()
        found = None if waits is None else (waits, self.num_requests)
        if found != self._waits_for:
            self._waits_for, self.waits_since = found, now
        elif waits is not None and self._is_over(waits, now - self.waits_since):
            self.transport.abort()

    @property
    def waits_for_client(self) -> bool:
        return self._waits() is not None

    def _waits(self) -> str | None:
        if self.transport.get_write_buffer_size():
            return READER
        if self.cycle is None or self.cycle.response_complete:
            if self.conn.their_state is h11.SEND_BODY:
                # It was answered before its body was whole, and what still comes is thrown away.
                return REST
            return HEAD if self.conn.trailing_data[0] or not self.num_requests else IDLE
        return BODY if self.cycle.more_body else None

    def _is_over(self, waits: str, seconds: float) -> bool:
        limits = self.limits
        most = {HEAD: limits.header_s, BODY: limits.body_s + _AFTER_S, IDLE: limits.idle_s + _AFTER_S}
        most |= {REST: limits.header_s, READER: limits.write_s}
        return seconds > most[waits] or self.rest_bytes > limits.body_bytes

    def _make_room(self) -> bool:
        """Breaks off the connection that has waited longest for its client; False if none waits."""
        others = [one for one in self.connections if isinstance(one, Connection) and one is not self]
        waiting = [one for one in others if one.waits_for_client and not one.transport.is_closing()]
        if not waiting:
            return False
        min(waiting, key=lambda one: one.waits_since).transport.abort()
        return True


def connection_class(limits: Limits) -> type[Connection]:
    """For uvicorn's `http`, which takes a class."""
    return type("LimitedConnection", (Connection,), {"limits": limits})


async def look_after(connections: set[Any]) -> None:
    """Looks at each connection again and again, until it is cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        now = loop.time()
        for connection in list(connections):
            connection.look(now)
        await asyncio.sleep(_TICK_S)
