"""A model or an index that is published while the service answers, and a service that is asked to end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from exported import write_exported
from served import PATIENCE_S, Served, everything, photographs, served, until, write_gallery

from shelfmark.core.folders import exchange
from shelfmark.export import predict
from shelfmark.serving.http import server
from shelfmark.serving.http.server import Listening
from shelfmark.serving.limits import Limits
from shelfmark.serving.service import Service
from shelfmark.serving.versions import Source

LABELS = [0, 1, 2]
SEEDS = (0, 1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of a model with their indexes, and three photographs."""
    place = tmp_path_factory.mktemp("versions")
    photos = photographs(place / "photos", len(LABELS))
    for seed in SEEDS:
        write_exported(place / f"model{seed}", seed)
        write_gallery(place / f"index{seed}", place / f"model{seed}", photos, LABELS)
    return place


@pytest.fixture
def live(place: Path, tmp_path: Path) -> Path:
    """The folders that are served, of version 0."""
    for name in ("model", "index"):
        shutil.copytree(place / f"{name}0", tmp_path / name)
    return tmp_path


@pytest.fixture(scope="module")
def expected(place: Path) -> dict[str, np.ndarray]:
    photo = place / "photos" / "0.jpg"
    return {f"tiny{seed}": predict.load(place / f"model{seed}").predict([photo])[0][0] for seed in SEEDS}


def publish(place: Path, live: Path, seed: int, names: tuple[str, ...] = ("model", "index")) -> None:
    """Exchanges the folders as `atomic_folder` does, in one step each."""
    for name in names:
        shutil.rmtree(live / f"{name}.new", ignore_errors=True)
        shutil.copytree(place / f"{name}{seed}", live / f"{name}.new")
        assert exchange(live / f"{name}.new", live / name)


def reloaded(running: Served) -> None:
    asyncio.run_coroutine_threadsafe(running.service.reload(), running.server._loop).result(PATIENCE_S)


def test_no_request_is_lost_or_mixed_up_while_versions_change(place, live, expected):
    photo = (place / "photos" / "0.jpg").read_bytes()
    seen: list[tuple[int, str, bool]] = []
    stop = threading.Event()

    def ask(running: Served) -> None:
        while not stop.is_set():
            reply = running.post("/embed", photo)
            name = reply.json["model"]["name"] if reply.status == 200 else ""
            found = reply.json["answers"][0].get("embedding") if name else None
            seen.append((reply.status, name, name in expected and np.allclose(found, expected[name], atol=1e-5)))

    with served(Source(model=live / "model", index=live / "index", decoders=1)) as running:
        askers = [threading.Thread(target=ask, args=[running]) for _ in range(3)]
        for one in askers:
            one.start()
        old = [running.service.current.version]
        for seed in (1, 0):
            publish(place, live, seed)
            reloaded(running)
            until(lambda seed=seed: any(name == f"tiny{seed}" for _, name, _ in seen[-3:]))
            old.append(running.service.current.version)
        stop.set()
        for one in askers:
            one.join(PATIENCE_S)
        until(lambda: all(version.retired and not version.users for version in old[:-1]))
        until(lambda: not any(_alive(version) for version in old[:-1]))
        assert _alive(old[-1])
    assert {(status, is_right) for status, _, is_right in seen} == {(200, True)}
    assert {name for _, name, _ in seen} == {"tiny0", "tiny1"}


def test_what_cannot_be_served_leaves_the_version_before_it(place, live):
    photo = (place / "photos" / "1.jpg").read_bytes()

    def answered(running: Served) -> str:
        assert running.get("/health/ready").status == 200
        return running.post("/search?k=1", photo).json["model"]["name"]

    with served(Source(model=live / "model", index=live / "index", decoders=1)) as running:
        publish(place, live, 1, ("model",))  # its index is still that of the other model
        reloaded(running)
        assert answered(running) == "tiny0"
        publish(place, live, 1, ("index",))
        with open(live / "model" / "model.onnx", "r+b") as file:
            file.write(b"damaged")
        reloaded(running)
        assert answered(running) == "tiny0"
        shutil.rmtree(live / "model")
        reloaded(running)
        assert answered(running) == "tiny0"
        shutil.copytree(place / "model1", live / "model")
        reloaded(running)
        assert answered(running) == "tiny1"
        counts = running.get("/metrics").body.decode()
    assert 'shelfmark_reloads_total{result="failed"} 3.0' in counts
    assert 'shelfmark_reloads_total{result="succeeded"} 1.0' in counts


def test_a_watched_folder_is_served_as_soon_as_it_is_published(place, live, monkeypatch):
    monkeypatch.setattr(server, "_WATCH_S", 0.05)
    with served(Source(model=live / "model", decoders=1), None, Listening(port=0, watch=True)) as running:
        assert running.get("/info").json["model"]["name"] == "tiny0"
        publish(place, live, 1, ("model",))
        until(lambda: running.get("/info").json["model"]["name"] == "tiny1")


def test_many_signals_open_one_more_version_and_none_once_the_service_ends():
    opened = []

    async def signalled() -> None:
        service = Service(Source(), Limits())
        service.state = "ready"
        may_end = asyncio.Event()

        async def load() -> None:
            opened.append(len(opened))
            await may_end.wait()

        service.current.load = load
        first = asyncio.create_task(service.reload())
        await asyncio.sleep(0)
        others = [asyncio.create_task(service.reload()) for _ in range(20)]
        await asyncio.sleep(0)
        assert opened == [0]
        may_end.set()
        await asyncio.gather(first, *others)
        assert opened == [0, 1]
        service.state = "draining"
        await service.reload()
        assert opened == [0, 1]
        await service.close()

    asyncio.run(signalled())


@pytest.mark.parametrize("named", ["best_model", "best_model.pth"])
@pytest.mark.parametrize("written", ["best_model/manifest.json", "thresholds.json"])
def test_a_watched_checkpoint_is_stale_after_training_and_after_thresholds(named, written, tmp_path):
    for name in ("best_model/manifest.json", "thresholds.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    source = Source(checkpoint=tmp_path / named)
    before = source.stamp(), source.stamp_of_thresholds()
    assert None not in source.stamp()
    assert (source.stamp(), source.stamp_of_thresholds()) == before
    (tmp_path / written).write_text('{"another": 1}')
    assert (source.stamp(), source.stamp_of_thresholds()) != before


@pytest.fixture
def process(live: Path) -> Iterator[tuple[subprocess.Popen[str], tuple[str, int]]]:
    """`shelfmark serve` in a process of its own, and its address."""
    words = ["serve", "--model", str(live / "model"), "--index", str(live / "index"), "--port", "0", "--decoders", "1"]
    words.append("--json")
    with subprocess.Popen(
        [sys.executable, "-m", "shelfmark", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as started:
        try:
            assert started.stdout is not None
            line = started.stdout.readline()
            assert line.startswith("listening on http://127.0.0.1:"), line
            yield started, ("127.0.0.1", int(line.rpartition(":")[2]))
        finally:
            started.kill()


def test_a_process_loads_anew_at_sighup_and_drains_at_sigterm(place, live, process):
    """What was begun before SIGTERM is answered after it, and the process ends well, with its children."""
    started, address = process
    photo = (place / "photos" / "0.jpg").read_bytes()
    # Before the model is loaded it lives, and is not ready.
    assert status(address, "GET /health/live") == 200
    first = status(address, "GET /health/ready")
    assert first in (200, 503)
    until(lambda: status(address, "GET /health/ready") == 200)
    publish(place, live, 1)
    started.send_signal(signal.SIGHUP)
    until(lambda: b'"tiny1"' in raw(address, b"GET /info HTTP/1.0\r\nHost: localhost\r\n\r\n"))
    children = {int(one) for one in Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()}
    head = f"POST /recognise HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(photo)}\r\n\r\n".encode()
    with socket.create_connection(address, timeout=PATIENCE_S) as begun:
        begun.sendall(head + photo[:100])
        until(lambda: status(address, "GET /health/ready") == 200)
        started.send_signal(signal.SIGTERM)
        until(lambda: status(address, "GET /health/ready") in (503, None))
        until(lambda: status(address, "GET /health/live") is None)
        begun.sendall(photo[100:])
        answer = everything(begun)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"tiny1"' in answer
    assert started.wait(PATIENCE_S) == 0
    assert children
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in children))
    assert started.stdout is not None
    rest = started.stdout.read()
    assert "drained" in rest
    assert json.loads(rest[rest.index("{\n") :])["requests"] > 0


def test_what_takes_longer_than_the_drain_is_given_up(place):
    source = Source(model=place / "model0", decoders=1)
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(served(source, limits=Limits(drain_s=1, body_s=1000)))
        begun = stack.enter_context(running.raw())
        begun.sendall(b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nbegun")
        until(lambda: running.service.room.held_bytes == 5)
        running.server.drain()
        assert b"200" not in everything(begun)[:20]


def status(address: tuple[str, int], ask: str) -> int | None:
    """None where nothing is listening."""
    answer = raw(address, f"{ask} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    return int(answer.split()[1]) if answer else None


def raw(address: tuple[str, int], request: bytes) -> bytes:
    try:
        with socket.create_connection(address, timeout=PATIENCE_S) as connection:
            connection.sendall(request)
            return everything(connection)
    except ConnectionError:
        return b""


def _alive(version: object) -> bool:
    return any(one._process.returncode is None for one in version.decoders._all)
