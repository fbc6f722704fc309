"""A service that answers over HTTP what a test told it to, with the headers of the real one: for tests of the page."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from shelfmark.serving.guard import PAGE_POLICY
from shelfmark.serving.page import PAGE, PAGE_FILES

PROMISE = {"max_wrong": 0.01, "confidence": 0.95, "max_false_accept": 0.02, "coverage": 0.834}


def picture(colour: str = "seagreen", size_px: int = 64, form: str = "JPEG") -> bytes:
    """A picture of one colour, as the bytes of a file."""
    buffer = BytesIO()
    Image.new("RGB", (size_px, size_px), colour).save(buffer, form)
    return buffer.getvalue()


@dataclass
class Reply:
    """One answer of the service: a body, or a picture's bytes, with its status and headers."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def error(status: int, code: str, message: str, **headers: str) -> Reply:
    return Reply(
        {"error": {"code": code, "message": message}},
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
    )


def answered(answer: dict[str, Any], candidates: Any = (), promise: Any = None) -> Reply:
    """What /recognise says of one photograph."""
    one = {"id": "0", "answer": answer, "candidates": list(candidates), "promise": promise}
    return Reply({"answers": [one], "model": {"name": "starter"}})


def entry(label: int, name: str | None, score: float) -> dict[str, Any]:
    """A candidate or neighbour that has a picture."""
    return {"class": label, "name": name, "score": score, "picture": f"/product/{label}/picture/0"}


class CannedService:
    """replies: what is said of a photograph, by its bytes; of several replies the last one is repeated."""

    def __init__(self) -> None:
        self.replies: dict[tuple[str, bytes], list[Reply]] = {}
        self.pictures: dict[str, bytes] = {}
        self.token = ""
        # What /info says before its answer.
        self.first: list[Reply] = []
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.info: dict[str, Any] = {
            "model": {"name": "starter", "classes": 400, "input_px": 224, "dim": 1280},
            "index": {"images": 12345, "classes": 400},
            "explains": False,
            "promise": PROMISE,
            "limits": {"bytes": 10_000_000, "megapixels": 25, "pictures": 16},
        }
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> CannedService:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/"

    def says(self, photograph: bytes, *replies: Reply, to: str = "recognise") -> None:
        self.replies[to, photograph] = list(replies)

    def asked(self, path: str) -> list[tuple[str, str, dict[str, str], bytes]]:
        return [one for one in self.requests if urlsplit(one[1]).path == path]

    def reply(self, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        name = path.strip("/") or "index.html"
        if name in PAGE_FILES:
            kind = {"Content-Type": PAGE_FILES[name], "Content-Security-Policy": PAGE_POLICY}
            return Reply((PAGE / name).read_bytes(), headers=kind)
        if self.token and headers.get("Authorization") != f"Bearer {self.token}":
            return error(401, "token", "The service wants its token.", WWW_Authenticate="Bearer")
        if name == "info":
            return self.first.pop(0) if self.first else Reply(self.info)
        if name.startswith("product/"):
            return Reply(self.pictures.get(path, picture("peru")), headers={"Content-Type": "image/jpeg"})
        known = self.replies.get((name, body))
        if not known:
            return error(400, "not_an_image", "This is not a picture that can be read.")
        return known.pop(0) if len(known) > 1 else known[0]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                headers = dict(self.headers.items())
                service.requests.append((self.command, self.path, headers, body))
                said = service.reply(urlsplit(self.path).path, body, headers)
                content = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
                self.send_response(said.status)
                kind = {"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"}
                for name, value in {**kind, **said.headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler
