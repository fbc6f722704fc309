"""Pictures of several requests pass the model together. Legend: N pictures, H, W pixels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

T = TypeVar("T")
Outputs = Mapping[str, np.ndarray]
"""The model's outputs by name, each (N, ...)."""


@dataclass(frozen=True, eq=False)
class _Item:
    pixels: np.ndarray
    answer: asyncio.Future[Outputs]


class Batcher:
    """Gives `run` at most `batch` pictures at a time, in a thread of its own.

    A batch begins when the model is free. It waits for more pictures at most `wait_s`, and only while `more_to_come()`
    says that some are being decoded: a picture alone never waits. Make it inside a running event loop; `close` ends it.
    """

    def __init__(
        self, run: Callable[[np.ndarray], Outputs], batch: int, wait_s: float, more_to_come: Callable[[], bool]
    ) -> None:
        self._run, self.batch, self.wait_s, self._more_to_come = run, batch, wait_s, more_to_come
        self.told: Callable[[int, float], None] = lambda pictures, seconds: None
        self._queue: asyncio.Queue[_Item] = asyncio.Queue()
        self._held: _Item | None = None
        self._thread = ThreadPoolExecutor(1, "model")
        self._serving = asyncio.get_running_loop().create_task(self._serve())

    async def outputs(self, pixels: np.ndarray) -> Outputs:
        """The outputs for pixels (N, H, W, 3) uint8, of which more than `batch` are divided."""
        parts = [pixels[start : start + self.batch] for start in range(0, len(pixels), self.batch)]
        found = await asyncio.gather(*map(self._part, parts))
        return (
            found[0] if len(found) == 1 else {name: np.concatenate([one[name] for one in found]) for name in found[0]}
        )

    async def alone(self, work: Callable[[], T]) -> T:
        """Does other work with the model, between two batches: no two threads may use it at once."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        """Call it when nothing waits any more."""
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)
        self._thread.shutdown(wait=False)

    async def _part(self, pixels: np.ndarray) -> Outputs:
        item = _Item(pixels, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(item)
        return await item.answer

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            items = await self._next()
            started = loop.time()
            try:
                pixels = np.concatenate([item.pixels for item in items]) if len(items) > 1 else items[0].pixels
                outputs = await loop.run_in_executor(self._thread, self._run, pixels)
            except Exception as error:
                _fail(items, error)
                continue
            self.told(len(pixels), loop.time() - started)
            _answer(items, outputs)

    async def _next(self) -> list[_Item]:
        first = self._held or await self._queue.get()
        items, rows, self._held = [first], len(first.pixels), None
        deadline = asyncio.get_running_loop().time() + self.wait_s
        while rows < self.batch:
            item = await self._another(deadline)
            if item is None:
                break
            if rows + len(item.pixels) > self.batch:
                self._held = item
                break
            items.append(item)
            rows += len(item.pixels)
        return items

    async def _another(self, deadline: float) -> _Item | None:
        """The next that waits already, or comes until the deadline while some are on the way."""
        if not self._queue.empty():
            return self._queue.get_nowait()
        if not self._more_to_come():
            return None
        try:
            async with asyncio.timeout_at(deadline):
                return await self._queue.get()
        except TimeoutError:
            return None


def _answer(items: list[_Item], outputs: Outputs) -> None:
    start = 0
    for item in items:
        end = start + len(item.pixels)
        if not item.answer.done():
            item.answer.set_result({name: values[start:end] for name, values in outputs.items()})
        start = end


def _fail(items: list[_Item], error: Exception) -> None:
    for item in items:
        if not item.answer.done():
            item.answer.set_exception(error)
