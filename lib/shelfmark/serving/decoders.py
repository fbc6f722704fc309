"""Decoding processes, which give each picture of a client its pixels. A process that fails costs its picture alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.log import warn
from shelfmark.data.boxes import Crop
from shelfmark.serving.frames import Head, frame, next_frame
from shelfmark.serving.limits import Limits
from shelfmark.serving.refusals import Unreadable

_START_S = 60.0
_AGAIN_S = 1.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_PACKAGE_ROOT = Path(__file__).parents[2]


class Decoders:
    """`number` processes. preparation: what each is told of the model's input; see `preparations`.

    A process that takes too long, or dies, is replaced; the others go on meanwhile. replaced: is called then.
    """

    def __init__(self, preparation: Mapping[str, Any], number: int, limits: Limits) -> None:
        self.preparation, self.number, self.limits = preparation, number, limits
        self.replaced: Callable[[], None] = lambda: None
        self.under_way = 0
        self._free: asyncio.LifoQueue[_Process] = asyncio.LifoQueue()
        self._all: set[_Process] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def start(self) -> None:
        """Starts all. Raises a UserError where they cannot decode for this model."""
        for process in await asyncio.gather(*(self._started() for _ in range(self.number))):
            self._free.put_nowait(process)

    async def pixels(self, data: bytes) -> np.ndarray:
        """(H, W, 3) uint8, resized and cropped as the model's input. Raises `Unreadable`."""
        head, content = await self._ask({}, data)
        return np.frombuffer(content, np.uint8).reshape(head["shape"])

    async def thumbnail(self, data: bytes, size_px: int, crop: Crop | None = None) -> bytes:
        """The picture, or a part of it, as a JPEG of at most size_px a side. Raises `Unreadable`."""
        return (await self._ask({"thumbnail_px": size_px, **({"crop": list(crop)} if crop else {})}, data))[1]

    async def close(self) -> None:
        """Ends all processes."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(process.end() for process in self._all))

    async def _ask(self, order: Head, data: bytes) -> tuple[Head, bytes]:
        self.under_way += 1
        process = await self._free.get()
        try:
            async with asyncio.timeout(self.limits.decode_s):
                head, content = await process.asked(order, data)
        except TimeoutError:
            self._replace(process)
            raise Unreadable("too_slow", f"it was not decoded within {self.limits.decode_s:g} seconds") from None
        except (EOFError, OSError):
            self._replace(process)
            raise Unreadable("unreadable", "its decoder failed") from None
        except BaseException:
            # An order that was cancelled half-way leaves an answer that nobody expects.
            self._replace(process)
            raise
        finally:
            self.under_way -= 1
        self._free.put_nowait(process)
        if "code" in head:
            raise Unreadable(head["code"], head["reason"])
        return head, content

    def _replace(self, process: _Process) -> None:
        process.kill()
        self.replaced()
        if not self._is_closed:
            task = asyncio.get_running_loop().create_task(self._replacement(process))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _replacement(self, process: _Process) -> None:
        await process.end()
        self._all.discard(process)
        while True:
            try:
                self._free.put_nowait(await self._started())
                return
            except (UserError, OSError) as error:
                warn(f"a decoding process does not start ({error}); it is tried again")
                await asyncio.sleep(_AGAIN_S)

    async def _started(self) -> _Process:
        process = await _Process.start(self.preparation, self.limits)
        self._all.add(process)
        return process


class _Process:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._orders, self._answers = process, process.stdin, process.stdout

    @classmethod
    async def start(cls, preparation: Mapping[str, Any], limits: Limits) -> _Process:
        self = cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "shelfmark.serving.decoding",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=_environment(),
            )
        )
        try:
            async with asyncio.timeout(_START_S):
                head, _ = await self.asked({"preparation": preparation, "limits": asdict(limits)})
        except (TimeoutError, EOFError, OSError):
            head = {"failed": "it ended before it was ready"}
        except BaseException:
            self.kill()
            raise
        if "failed" in head:
            await self.end()
            raise UserError(f"pictures cannot be decoded for this model: {head['failed']}.")
        return self

    async def asked(self, head: Head, content: bytes = b"") -> tuple[Head, bytes]:
        for part in frame(head, content):
            self._orders.write(part)
        await self._orders.drain()
        return await next_frame(self._answers)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def end(self) -> None:
        self.kill()
        self._orders.close()
        await self._process.wait()


def _environment() -> dict[str, str]:
    """The little that a decoder needs: none of the service's secrets, and one thread each."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH", "HOME") if name in os.environ}
    return {**kept, **dict.fromkeys(_THREADS, "1"), "PYTHONPATH": os.pathsep.join([str(_PACKAGE_ROOT), *_paths()])}


def _paths() -> list[str]:
    return [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
