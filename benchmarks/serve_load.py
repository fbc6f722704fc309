"""Requests to a service on this machine: at times of their own (open loop), or each client its next (closed loop)."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

LIMIT_S = 30.0
_BROKEN = 0


@dataclass
class Counts:
    """status -> the seconds of the requests that ended with it, from the moment that each was due; 0: no answer."""

    seconds: dict[int, list[float]] = field(default_factory=dict)
    wrong: int = 0
    elapsed_s: float = 0.0

    def add(self, status: int, seconds: float) -> None:
        self.seconds.setdefault(status, []).append(seconds)

    def number(self, status: int) -> int:
        return len(self.seconds.get(status, ()))

    @property
    def total(self) -> int:
        return sum(map(len, self.seconds.values()))

    @property
    def goodput(self) -> float:
        """Answers with status 200 a second."""
        return self.number(200) / self.elapsed_s

    def latency_ms(self, percent: float) -> float:
        """Of answers with status 200."""
        found = self.seconds.get(200)
        return 1000 * float(np.percentile(found, percent)) if found else float("nan")


class Client:
    """Connections to one port, which are kept and used again."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """(status, body); status 0 for a connection that ended without an answer."""
        kept = bool(self._free)
        try:
            async with asyncio.timeout(LIMIT_S):
                answer = await self._ask(request)
                # The service may have closed a kept connection meanwhile; a new one is asked then.
                return answer if answer[0] or not kept else await self._ask(request, fresh=True)
        except TimeoutError:
            return _BROKEN, b""

    async def _ask(self, request: bytes, fresh: bool = False) -> tuple[int, bytes]:
        writer = None
        try:
            if self._free and not fresh:
                reader, writer = self._free.pop()
            else:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
            )
            body = await reader.readexactly(length)
            if b"connection: close" in head.lower():
                writer.close()
            else:
                self._free.append((reader, writer))
            return int(head.split()[1]), body
        except (OSError, EOFError):
            if writer is not None:
                writer.close()
            return _BROKEN, b""

    def close(self) -> None:
        for _, writer in self._free:
            writer.close()


Check = Callable[[int, bytes], bool]
"""(number of the request, body of an answer with status 200) -> whether it is right."""


async def open_loop(client: Client, requests: Sequence[bytes], rate: float, seconds: float, seed: int = 0) -> Counts:
    """Sends requests at random times, `rate` a second on average, whether answers come or not."""
    counts, draws = Counts(), random.Random(seed)
    started, due, waiting = time.perf_counter(), 0.0, set[asyncio.Task[None]]()
    number = 0
    while (due := due + draws.expovariate(rate)) < seconds:
        await asyncio.sleep(max(0.0, started + due - time.perf_counter()))
        task = asyncio.create_task(_timed(client, requests[number % len(requests)], started + due, counts))
        waiting.add(task)
        task.add_done_callback(waiting.discard)
        number += 1
    # Answers that come later than the last request count, and so does their time.
    await asyncio.gather(*waiting)
    counts.elapsed_s = time.perf_counter() - started
    return counts


async def closed_loop(
    client: Client,
    requests: Sequence[bytes],
    clients: int,
    goes_on: Callable[[Counts], bool],
    right: Check = lambda number, body: True,
    between: Callable[[int], Awaitable[None] | None] = lambda number: None,
) -> Counts:
    """Each of the clients sends its next request when its last is answered. between: is called before each."""
    counts, numbers = Counts(), iter(range(10**9))
    started = time.perf_counter()

    async def one() -> None:
        while goes_on(counts):
            number = next(numbers)
            other = between(number)
            if other is not None:
                await other
                continue
            place = number % len(requests)
            due = time.perf_counter()
            status, body = await client.ask(requests[place])
            counts.add(status, time.perf_counter() - due)
            counts.wrong += status == 200 and not right(place, body)
            if status == 503:
                await asyncio.sleep(0.05)

    await asyncio.gather(*(one() for _ in range(clients)))
    counts.elapsed_s = time.perf_counter() - started
    return counts


async def _timed(client: Client, request: bytes, due: float, counts: Counts) -> None:
    status, _ = await client.ask(request)
    counts.add(status, time.perf_counter() - due)
