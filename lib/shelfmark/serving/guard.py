"""The outermost part of the service: what every request meets before it is answered, and every answer on its way out.

ASGI in the raw, so that nothing of a framework runs before the checks.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from shelfmark.core.log import say
from shelfmark.serving.access import Access
from shelfmark.serving.refusals import INTERNAL, ClientGone, Refused

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
Told = Callable[[str, int, float], None]
"""(route, status, seconds) of a request that was answered."""

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self';"
    " form-action 'none'; frame-ancestors 'none'; base-uri 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
_POLICY = "default-src 'none'; frame-ancestors 'none'"
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "content-security-policy": _POLICY,
    "cache-control": "no-store",
}
_UNKNOWN_ROUTE = "-"
_logger = logging.getLogger("shelfmark.serving")


class Guard:
    """Lets `app` answer what `access` allows. told: is called for each answer; it also makes the line of the log.

    head_bytes: that the head of a request may have. A route is that of the app, such as `/product/{identity:path}/...`:
    the log has nothing that a client chose.
    """

    def __init__(self, app: App, access: Access, told: Told, head_bytes: int) -> None:
        self.app, self.access, self.told, self.head_bytes = app, access, told, head_bytes

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        answer = _Answer(send)
        started = time.monotonic()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            self._require_short(scope)
            _require_one_length(headers)
            self.access.check(scope["path"], scope["method"], headers)
            await self.app(scope, receive, answer.send)
        except ClientGone:
            return
        except Refused as refused:
            await answer.refuse(refused, scope["path"])
        except Exception:
            _logger.exception("a request failed")
            await answer.refuse(INTERNAL, scope["path"])
        route = getattr(scope.get("route"), "path", _UNKNOWN_ROUTE)
        seconds = time.monotonic() - started
        self.told(route, answer.status, seconds)
        say(
            f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {scope['method']:.8} {route} {answer.status} {1000 * seconds:.0f} ms"
        )

    def _require_short(self, scope: Mapping[str, Any]) -> None:
        # uvicorn's own limit is of a head that is not whole yet.
        head = [scope["raw_path"], scope["query_string"], *(part for pair in scope["headers"] for part in pair)]
        if sum(map(len, head)) > self.head_bytes:
            raise Refused(431, "too_large", f"The head of a request has at most {self.head_bytes:,} bytes.")


def _require_one_length(headers: Mapping[str, str]) -> None:
    # Where a proxy takes the one and the service the other, the rest of a body is a request that nobody asked.
    if "transfer-encoding" in headers and "content-length" in headers:
        message = "A request has a Content-Length or a Transfer-Encoding, not both."
        raise Refused(400, "wrong_request", message)


class _Answer:
    """Adds the headers that every answer has. status: 0 before it began."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = {name.lower() for name, _ in message.get("headers", ())}
            more = [(name.encode(), value.encode()) for name, value in _HEADERS.items() if name.encode() not in own]
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await self._send(message)

    async def refuse(self, refused: Refused, path: str) -> None:
        """Sends the refusal, unless an answer has begun: uvicorn breaks that one off where it is not whole."""
        if self.status:
            return
        body = json.dumps(refused.as_json(path)).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **refused.headers}
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": refused.status, "headers": encoded})
        await self.send({"type": "http.response.body", "body": body})
