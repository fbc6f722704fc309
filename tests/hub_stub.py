"""A hub on this machine: repositories in memory, behind the few requests that the Hugging Face client makes."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0" * 40


@dataclass
class Hub:
    """repositories: name -> path -> bytes. private: those that were made so. seen: method and path of each request.
    tokens: those that came with requests. refuses: a status that every request gets, 0 for none."""

    url: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    seen: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    refuses: int = 0


@contextmanager
def hub() -> Iterator[Hub]:
    state = Hub()
    handler = type("Handler", (_Handler,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self._is_refused():
            return
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts == ["api", "repos", "create"]:
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.state.repositories.setdefault(name, {})
            if asked.get("visibility") == "private" or asked.get("private"):
                self.state.private.add(name)
            self._json({"url": f"{self.state.url}/{name}"})
        elif parts == ["api", "validate-yaml"]:
            self._json({"errors": [], "warnings": []})
        elif parts[-2] == "preupload":
            files = [one["path"] for one in json.loads(body)["files"]]
            self._json({"files": [{"path": one, "uploadMode": "regular", "shouldIgnore": False} for one in files]})
        elif parts[-2] == "commit":
            name = "/".join(parts[2:4])
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    content = base64.b64decode(entry["value"]["content"])
                    self.state.repositories[name][entry["value"]["path"]] = content
            self._json({"commitUrl": f"{self.state.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT, "success": True})
        else:
            self._missing("RepoNotFound")

    def do_HEAD(self) -> None:
        self._file(with_body=False)

    def do_GET(self) -> None:
        self._file(with_body=True)

    def _file(self, with_body: bool) -> None:
        if self._is_refused():
            return
        parts = self.path.partition("?")[0].strip("/").split("/")
        repository = self.state.repositories.get("/".join(parts[:2]))
        if repository is None or parts[2:3] != ["resolve"]:
            self._missing("RepoNotFound")
        elif (content := repository.get("/".join(parts[4:]))) is None:
            self._missing("EntryNotFound")
        else:
            self.send_response(200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if with_body:
                self.wfile.write(content)

    def _is_refused(self) -> bool:
        self.state.seen.append(f"{self.command} {self.path}")
        token = self.headers.get("Authorization", "")
        self.state.tokens |= {token} if token else set()
        if self.state.refuses:
            # A careless server that repeats the token.
            self._json({"error": f"refused: {token}"}, self.state.refuses)
        return bool(self.state.refuses)

    def _missing(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _json(self, value: Any, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass
