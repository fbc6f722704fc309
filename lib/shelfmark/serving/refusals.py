"""Why a request, or a picture of it, gets no answer."""

from __future__ import annotations

from typing import Any


class Refused(Exception):  # noqa: N818
    """A request is answered with an error. code: one word for programs. message: one sentence for people."""

    def __init__(self, status: int, code: str, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after_s = status, code, message, retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """Those that the status calls for."""
        if self.retry_after_s is not None:
            return {"retry-after": str(self.retry_after_s)}
        if self.code == "wrong_request":
            # Where the next request begins is not sure.
            return {"connection": "close"}
        return {"www-authenticate": "Bearer"} if self.status == 401 else {}

    def as_json(self, path: str = "") -> dict[str, Any]:
        """For a request of this path: the Open Inference Protocol, whose paths begin with /v2, has a text alone."""
        is_of_protocol = path == "/v2" or path.startswith("/v2/")
        return {"error": self.message if is_of_protocol else {"code": self.code, "message": self.message}}


class ClientGone(Exception):  # noqa: N818
    """The client closed the connection before its request was whole."""


class Unreadable(Exception):  # noqa: N818
    """A picture cannot be read. code: as of `Refused`, for a request of this picture alone."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


INTERNAL = Refused(500, "internal", "The service made a mistake. Its log says more.")


def busy(retry_after_s: int = 1) -> Refused:
    return Refused(503, "busy", "The service has as much to do as it can answer in time. Ask again.", retry_after_s)


def not_ready(state: str) -> Refused:
    """state: `loading` or `draining`."""
    return Refused(503, "not_ready", f"The service is {state}. Ask again.", 1)
