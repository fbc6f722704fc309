"""The service in figures: its latency and throughput, what it does at twice its capacity, and under attack.

    make bench-serve [MORE="--part speed overload"]

speed: calls of the exported model in the same process, `shelfmark serve`, and LitServe with the same file.
overload: twice the capacity for two minutes. hostile: 20,000 requests, a tenth of them hostile. memory: speed and
memory with and without the allocator setting that training has (SHELFMARK_KEEP_MEMORY).

Everything stays on this machine. The server has one core and the load another. Without --model the starter weights get
a head for groceries, which is exported; that is done once. LitServe goes into an environment of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hostile_requests import drawn, sent
from measuring import GROCERY, add_out, made_by, verdict, version_of, write_page
from peer_environment import python_with
from serve_load import Client, Counts, closed_loop, open_loop

from shelfmark.export import predict

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("speed", "overload", "hostile", "memory")
PEER = "litserve==0.2.19"
CLIENTS = 16
HOSTILE_CLIENTS = 8
NUM_PHOTOS = 200
RATES = (0.25, 0.5, 0.8, 1.0)
START_S = 600.0
MOST_GROWTH, LEAST_GOODPUT, MOST_P99_MS = 0.05, 0.9, 1000


@dataclass(frozen=True)
class Sizes:
    """seconds: of a step of `speed`. overload_s: of twice the capacity. requests: of `hostile`."""

    seconds: float
    overload_s: float
    requests: int


def main() -> None:
    """Prints the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, nargs="?", default=Path("log/bench_serve"), help="folder of the work")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS, help="what is measured (default: all)")
    parser.add_argument("--model", type=Path, help="folder of an exported model (default: the starter weights')")
    parser.add_argument("--source", type=Path, default=GROCERY, help="folder of the grocery photographs")
    parser.add_argument("--seconds", type=float, default=20, help="seconds of each step of `speed`")
    parser.add_argument("--overload-s", type=float, default=120, help="seconds of `overload`")
    parser.add_argument("--requests", type=int, default=20_000, help="requests of `hostile`")
    add_out(parser)
    options = parser.parse_args()
    bench = Bench(options.work.resolve(), options.source.resolve(), options.model)
    sizes = Sizes(options.seconds, options.overload_s, options.requests)
    write_page(page(bench, options.part, sizes), options.out)


def page(bench: Bench, parts: Sequence[str], sizes: Sizes) -> Iterator[str]:
    """The lines of the page, each when it is known."""
    bench.prepare()
    facts = bench.predictor.facts
    yield "# The service: speed, overload and attacks"
    yield ""
    yield (
        f"{made_by()} onnxruntime {version_of('onnxruntime')}, fastapi {version_of('fastapi')}, uvicorn"
        f" {version_of('uvicorn')}, {PEER}. Model: {facts['name']}, {facts['input']['size_px'][0]} px,"
        f" {facts['outputs']['logits']} classes. Photographs: {len(bench.photos)} of groceries, mean"
        f" {np.mean([len(one) for one in bench.photos]) / 1000:.0f} kB. Server on core {bench.cores[0]}, load on core"
        f" {bench.cores[1]}."
    )
    steps: dict[str, Callable[[Sizes], Iterator[str]]] = {
        "speed": bench.speed,
        "overload": bench.overload,
        "hostile": bench.hostile,
        "memory": bench.memory,
    }
    for part in parts:
        yield ""
        yield from steps[part](sizes)


class Bench:
    """The model, the photographs, and the servers that are measured."""

    def __init__(self, work: Path, source: Path, model: Path | None) -> None:
        self.work, self.source, self.model = work, source, model or work / "exported"
        self.cores = sorted(os.sched_getaffinity(0))[:2]
        if len(self.cores) < 2:
            sys.exit("error: the server and the load need a core each, and this process has one.")
        self.photos: list[bytes] = []

    def prepare(self) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        if not (self.model / "model.json").is_file():
            self._export()
        files = sorted((self.source / "val").rglob("*.jpg"))
        chosen = random.Random(0).sample(files, min(NUM_PHOTOS, len(files)))
        self.photos = [file.read_bytes() for file in chosen]
        os.sched_setaffinity(0, {self.cores[0]})
        self.predictor = predict.load(self.model, threads=1)
        self.expected = [self._product(one) for one in self.photos]
        os.sched_setaffinity(0, {self.cores[1]})

    def speed(self, sizes: Sizes) -> Iterator[str]:
        """Latency and throughput of three ways to one model."""
        yield "| way | offered, 1/s | answered, 1/s | p50, ms | p95, ms | p99, ms | refused |"
        yield "|---|---:|---:|---:|---:|---:|---:|"
        yield self._row("direct calls, one after the other", None, self._direct(sizes.seconds))
        for way, server, requests in (
            ("shelfmark serve", self.ours, self._requests()),
            ("LitServe", self.peer, self._peer_requests()),
        ):
            with server() as port:
                most = asyncio.run(self._closed(port, requests, sizes.seconds))
                yield self._row(f"{way}, {CLIENTS} clients", None, most)
                for share in RATES:
                    found = asyncio.run(self._open(port, requests, share * most.goodput, sizes.seconds))
                    yield self._row(f"{way}, {100 * share:.0f}% of that", share * most.goodput, found)

    def overload(self, sizes: Sizes) -> Iterator[str]:
        """Twice the capacity."""
        with self.ours() as port:
            peak = asyncio.run(self._closed(port, self._requests(), sizes.seconds))
            found = asyncio.run(self._open(port, self._requests(), 2 * peak.goodput, sizes.overload_s))
        share, p99 = found.goodput / peak.goodput, found.latency_ms(99)
        yield (
            f"Twice the capacity for {sizes.overload_s:.0f} s: peak {peak.goodput:.1f}/s, offered"
            f" {2 * peak.goodput:.1f}/s."
        )
        yield ""
        met = verdict(share >= LEAST_GOODPUT)
        yield f"- goodput {found.goodput:.1f}/s, {share:.0%} of the peak (at least 90%: {met})"
        yield f"- p99 of what was taken {p99:.0f} ms (under 1 s: {verdict(p99 < MOST_P99_MS)})"
        yield f"- {_told(found)}: {verdict(found.number(200) + found.number(503) == found.total)}"

    def hostile(self, sizes: Sizes) -> Iterator[str]:
        """A tenth of the requests are hostile."""
        with self.ours() as port:
            process = self._process
            warm_up, rest = sizes.requests // 10, sizes.requests - sizes.requests // 10
            first = asyncio.run(self._attacked(port, warm_up, seed=0))
            before = tree_bytes(process.pid)
            found = asyncio.run(self._attacked(port, rest, seed=1))
            time.sleep(1)
            after = tree_bytes(process.pid)
            lives = process.poll() is None
        growth = after / before - 1
        good = found.number(200) + found.number(503) + first.number(200) + first.number(503)
        total, wrong = found.total + first.total, found.wrong + first.wrong
        yield f"{sizes.requests:,} requests, a tenth of them hostile, {HOSTILE_CLIENTS} clients."
        yield ""
        yield f"- good requests: {_told(found)} after the warm-up; all answered or refused: {verdict(good == total)}"
        yield f"- answers that name another product than direct calls: {wrong}: {verdict(wrong == 0)}"
        yield (
            f"- memory of all processes {before / 1e6:.0f} MB after the first tenth, {after / 1e6:.0f} MB at the end:"
            f" {growth:+.1%} (at most +5%: {verdict(growth <= MOST_GROWTH)})"
        )
        yield f"- the service still runs: {verdict(lives)}"

    def memory(self, sizes: Sizes) -> Iterator[str]:
        """The allocator setting, on and off by turns."""
        yield "| SHELFMARK_KEEP_MEMORY | answered, 1/s | p99, ms | memory, MB |"
        yield "|---|---:|---:|---:|"
        for value in ("0", "1", "0", "1"):
            with self.ours({"SHELFMARK_KEEP_MEMORY": value}) as port:
                found = asyncio.run(self._closed(port, self._requests(), sizes.seconds))
                held = tree_bytes(self._process.pid)
            yield f"| {value} | {found.goodput:.1f} | {found.latency_ms(99):.0f} | {held / 1e6:.0f} |"

    @contextmanager
    def ours(self, environment: dict[str, str] | None = None) -> Iterator[int]:
        """The port of `shelfmark serve`."""
        words = ["-m", "shelfmark", "serve", "--model", str(self.model), "--threads", "1"]
        with self._server([sys.executable, *words, "--port"], "/health/ready", environment or {}) as port:
            yield port

    @contextmanager
    def peer(self) -> Iterator[int]:
        """The port of LitServe."""
        command = [
            str(python_with(PEER, self.work / "peer_environment")),
            str(ROOT / "benchmarks" / "peer_litserve.py"),
            str(self.model),
        ]
        with self._server(command, "/health", {}) as port:
            yield port

    @contextmanager
    def _server(self, command: list[str], ready: str, environment: dict[str, str]) -> Iterator[int]:
        port = _free_port()
        with open(self.work / "server.txt", "w", encoding="utf-8") as said:
            process = subprocess.Popen(
                [*command, str(port)],
                stdout=said,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(ROOT / "lib"), "OMP_NUM_THREADS": "1", **environment},
                preexec_fn=lambda: os.sched_setaffinity(0, {self.cores[0]}),
                start_new_session=True,
            )
        self._process = process
        try:
            _wait(f"http://127.0.0.1:{port}{ready}", process, self.work / "server.txt")
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
            # LitServe leaves processes behind.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    async def _closed(self, port: int, requests: Sequence[bytes], seconds: float) -> Counts:
        client = Client(port)
        await closed_loop(client, requests, CLIENTS, lambda counts: counts.total < 4 * CLIENTS)
        ends = time.perf_counter() + seconds
        counts = await closed_loop(client, requests, CLIENTS, lambda counts: time.perf_counter() < ends)
        client.close()
        return counts

    async def _open(self, port: int, requests: Sequence[bytes], rate: float, seconds: float) -> Counts:
        client = Client(port)
        counts = await open_loop(client, requests, rate, seconds)
        client.close()
        return counts

    async def _attacked(self, port: int, number: int, seed: int) -> Counts:
        client, draws, attacks = Client(port), random.Random(seed), set[asyncio.Task[None]]()
        left = number

        def goes_on(counts: Counts) -> bool:
            nonlocal left
            left -= 1
            return left >= 0

        def between(place: int) -> asyncio.Task[None] | None:
            if draws.random() >= 0.1:
                return None
            attack = asyncio.create_task(sent(drawn(draws), port, draws.choice(self.photos)))
            attacks.add(attack)
            attack.add_done_callback(attacks.discard)
            return asyncio.create_task(asyncio.sleep(0))  # the next good request does not wait for it

        counts = await closed_loop(client, self._requests(), HOSTILE_CLIENTS, goes_on, self._is_right, between)
        await asyncio.gather(*attacks)
        client.close()
        return counts

    def _direct(self, seconds: float) -> Counts:
        counts, started = Counts(), time.perf_counter()
        os.sched_setaffinity(0, {self.cores[0]})
        while time.perf_counter() - started < seconds:
            due = time.perf_counter()
            self.predictor.answers([self.photos[counts.total % len(self.photos)]])
            counts.add(200, time.perf_counter() - due)
        counts.elapsed_s = time.perf_counter() - started
        os.sched_setaffinity(0, {self.cores[1]})
        return counts

    def _row(self, way: str, offered: float | None, counts: Counts) -> str:
        latencies = " | ".join(f"{counts.latency_ms(percent):.0f}" for percent in (50, 95, 99))
        shown = "" if offered is None else f"{offered:.1f}"
        others = counts.total - counts.number(200) - counts.number(503)
        refused = f"{counts.number(503)}" + (f", {others} failed" if others else "")
        return f"| {way} | {shown} | {counts.goodput:.1f} | {latencies} | {refused} |"

    def _requests(self) -> list[bytes]:
        return [_request("/recognise", "image/jpeg", one) for one in self.photos]

    def _peer_requests(self) -> list[bytes]:
        bodies = [json.dumps({"image": b64encode(one).decode()}).encode() for one in self.photos]
        return [_request("/predict", "application/json", body) for body in bodies]

    def _product(self, photo: bytes) -> int:
        [answer] = self.predictor.answers([photo])
        return int(answer["candidates"][0]["class"])

    def _is_right(self, place: int, body: bytes) -> bool:
        return bool(json.loads(body)["answers"][0]["candidates"][0]["class"] == self.expected[place])

    def _export(self) -> None:
        """Starter weights with a head for groceries, exported."""
        data, run = self.work / "grocery", self.work / "log" / "served"
        if not (data / "train.json").is_file():
            self._run("prepare", "grocery", "--source", str(self.source), "--out", str(data))
        words = [f"data.root={data}", *(f"data.{one}_json={data}/{one}.json" for one in ("train", "val", "retrieval"))]
        shutil.rmtree(run, ignore_errors=True)
        config = str(ROOT / "configs" / "grocery_head.yaml")
        self._run("train", "--config", config, "name=served", f"output.log_root={run.parent}", *words)
        self._run("export", "--RESUME_MODEL", str(run / "best_model"), "--out", str(self.model))

    def _run(self, *words: str) -> None:
        said = self.work / f"{words[0]}.txt"
        with open(said, "w", encoding="utf-8") as stream:
            environment = {**os.environ, "PYTHONPATH": str(ROOT / "lib")}
            command = [sys.executable, "-m", "shelfmark", *words]
            done = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, env=environment, cwd=self.work)
        if done.returncode:
            sys.exit(f"error: `shelfmark {words[0]}` ended with {done.returncode}; all that it said is in {said}.")


def tree_bytes(pid: int) -> int:
    """The resident memory of a process and all that descend from it."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    children = [int(one) for thread in threads for one in (thread / "children").read_text().split()]
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(map(tree_bytes, children))


def _told(counts: Counts) -> str:
    others = {status: len(found) for status, found in counts.seconds.items() if status not in (200, 503)}
    told = f"{counts.number(200):,} answered, {counts.number(503):,} refused"
    return told if not others else f"{told}, others by status {others}"


def _request(path: str, kind: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _wait(address: str, process: subprocess.Popen[bytes], said: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    sys.exit(f"error: the server did not come up; what it said is in {said}.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
