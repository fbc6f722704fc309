"""A service in a thread of the test, and clients: a polite one, and one that writes what it likes."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from exported import CLASS_NAMES, DIM
from PIL import Image

from shelfmark.core.strings import Strings
from shelfmark.export import predict
from shelfmark.retrieval.index import Index, Records
from shelfmark.retrieval.index_files import write_index
from shelfmark.serving.access import Access
from shelfmark.serving.http.server import Listening, Server
from shelfmark.serving.limits import Limits
from shelfmark.serving.versions import Source

PATIENCE_S = 120.0


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of an error."""
        return self.json["error"]["code"]


@dataclass(frozen=True)
class Served:
    """A running service."""

    server: Server

    @property
    def address(self) -> tuple[str, int]:
        return self.server.address

    @property
    def service(self) -> Any:
        return self.server.service

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, dict(headers or {}))
            return _reply(connection.getresponse())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, None, headers)

    def post(self, path: str, body: bytes, **headers: str) -> Reply:
        return self.ask("POST", path, body, headers)

    def post_form(self, path: str, parts: Sequence[tuple[str, bytes]]) -> Reply:
        """parts: names of fields and their contents."""
        kind, body = form(parts)
        return self.ask("POST", path, body, {"Content-Type": kind})

    @contextmanager
    def raw(self) -> Iterator[socket.socket]:
        with socket.create_connection(self.address, timeout=PATIENCE_S) as connection:
            yield connection

    def sent(self, *parts: bytes, pause_s: float = 0.0) -> bytes:
        """Everything that comes back until the service closes the connection."""
        with self.raw() as connection:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause_s)
            return everything(connection)


@contextmanager
def served(
    source: Source, access: Access | None = None, listening: Listening | None = None, limits: Limits | None = None
) -> Iterator[Served]:
    """The service, ready to answer; drained at the end."""
    server = Server(source, access or Access(), listening or Listening(port=0), limits)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    running = Served(server)
    until(lambda: running.get("/health/ready").status == 200 or not thread.is_alive())
    try:
        yield running
    finally:
        server.drain()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def until(holds: Any, patience_s: float = PATIENCE_S) -> None:
    """Waits until something holds; how long that takes on a busy machine is not what a test is about."""
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.02)


def everything(connection: socket.socket) -> bytes:
    """What comes until the other side ends; a reset is an end too."""
    found = bytearray()
    try:
        while part := connection.recv(65536):
            found += part
    except ConnectionError:
        pass
    return bytes(found)


def form(parts: Sequence[tuple[str, bytes]]) -> tuple[str, bytes]:
    """The Content-Type and the body of a form whose fields are files."""
    boundary = "limit-of-parts"
    lines = []
    for name, content in parts:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="../../etc/passwd"\r\n\r\n'
        lines.append(head.encode() + content + b"\r\n")
    return f"multipart/form-data; boundary={boundary}", b"".join(lines) + f"--{boundary}--\r\n".encode()


def photographs(folder: Path, number: int) -> list[Path]:
    """Small JPEG files with nothing in common."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(number)
    files = []
    for row in range(number):
        colours = generator.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        files.append(folder / f"{row}.jpg")
        Image.fromarray(colours).resize((50, 40), Image.Resampling.NEAREST).save(files[-1], quality=95)
    return files


def write_gallery(folder: Path, exported: Path, photos: Sequence[Path], labels: Sequence[int]) -> Path:
    """An index of the photographs, made by the exported model. A label of -1 is none."""
    predictor = predict.load(exported)
    embedding, _ = predictor.predict(photos)
    assert embedding.shape[1] == DIM
    names = {
        label: CLASS_NAMES[label] if label < len(CLASS_NAMES) else f"new {label}" for label in labels if label >= 0
    }
    ids = [f"shelf/{row} <b>" for row in range(len(photos))]
    records = Records(Strings.of(ids), np.array(labels), Strings.of(map(str, photos)), names)
    facts = {"shares_classes": True, "embedding_sha256": predictor.facts["embedding_sha256"]}
    write_index(folder, Index.build(embedding, records, kind="flat", facts=facts))
    return folder


def _reply(answer: http.client.HTTPResponse) -> Reply:
    return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
