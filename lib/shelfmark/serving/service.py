"""What the service does with the pictures of a request, whatever the protocol. Legend: N pictures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.log import say, warn
from shelfmark.core.regular_files import read_regular
from shelfmark.predictions.answers import unanswered
from shelfmark.serving.admission import Admission
from shelfmark.serving.batcher import Outputs
from shelfmark.serving.bodies import Room
from shelfmark.serving.decoders import Decoded
from shelfmark.serving.explanations import with_explanations
from shelfmark.serving.limits import Limits
from shelfmark.serving.refusals import Refused, Unreadable, busy, not_ready
from shelfmark.serving.tensors import Inference
from shelfmark.serving.versions import Current, Source, Version

THUMBNAIL_PX = 512
_MOST_GALLERY_BYTES = 50_000_000
_ANSWER_THREADS = 2
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Answered:
    """answers: one for each picture, in their order. refusal: set where no picture of the request could be read."""

    answers: list[dict[str, Any]]
    version: Version
    refusal: Refused | None


class Service:
    """state: loading, ready or draining. Make it inside a running event loop."""

    def __init__(self, source: Source, limits: Limits) -> None:
        self.limits = limits
        self.state = "loading"
        self.current = Current(source, limits)
        self.admission = Admission(limits.queue, limits.queue_s)
        self.room = Room(limits.buffered_bytes)
        self.reloaded: Callable[[bool], None] = lambda succeeded: None
        self._threads = ThreadPoolExecutor(_ANSWER_THREADS, "answers")
        self._one_reload = asyncio.Lock()
        self._awaits_reload = False

    @property
    def is_ready(self) -> bool:
        return self.state == "ready"

    async def load(self) -> None:
        """Opens the first version. Raises a UserError."""
        await self.current.load()
        if self.state == "loading":
            self.state = "ready"
            say("ready")

    async def reload(self) -> None:
        """Puts what is in the folders now in place of what is served; if that cannot be, says why and goes on.

        However often it is asked for while a version is opened, one more is opened behind it.
        """
        if self._awaits_reload:
            return
        self._awaits_reload = True
        async with self._one_reload:
            self._awaits_reload = False
            if self.state != "draining":
                await self._reload()

    async def _reload(self) -> None:
        try:
            await self.current.load()
        except Exception as error:  # whatever a damaged file makes of a library, the service goes on
            told = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            warn(f"what was published is not served, the version before it still is: {told}")
            self.reloaded(False)
        else:
            say("a new version is served")
            self.reloaded(True)

    async def close(self) -> None:
        await self.current.close()
        self._threads.shutdown(wait=False)

    def require_open(self) -> None:
        """Raises `Refused` where a request would not be taken: known before its body is read."""
        # While draining, requests on open connections are still answered.
        if self.current.version is None:
            raise not_ready(self.state)
        if self.admission.is_full:
            raise busy(self.admission.retry_after_s)

    async def answered(
        self,
        pictures: Sequence[bytes],
        answers: Callable[[Version, Outputs], Sequence[dict[str, Any]]],
        explains: bool = False,
    ) -> Answered:
        """An answer for each picture: of `answers` for those that can be read, which all pass the model together.

        explains: each answer also says why; see `with_explanations`.
        """
        with self.admission.taken(len(pictures)):
            async with self.current.lease() as version:
                decoded = await asyncio.gather(*(_decoded(version, one) for one in pictures))
                readable = {place: one for place, one in enumerate(decoded) if isinstance(one, Decoded)}
                found: Sequence[dict[str, Any]] = ()
                if readable:
                    outputs = await version.batcher.outputs(np.stack([one.pixels for one in readable.values()]))
                    found = await self._in_thread(lambda: answers(version, outputs))
                    if explains:
                        why = partial(with_explanations, version.model, list(readable.values()), found)
                        found = await version.batcher.alone(why)
        placed = {place: {**one, "id": str(place)} for place, one in zip(readable, found)}
        errors = {place: one for place, one in enumerate(decoded) if isinstance(one, Unreadable)}
        placed |= {place: unanswered(str(place), str(error)) for place, error in errors.items()}
        return Answered([placed[place] for place in range(len(pictures))], version, _refusal(decoded))

    async def outputs(self, read: Callable[[Version], Inference]) -> tuple[Inference, Outputs]:
        """What `read` makes of a request for the version that is served, and the model's outputs for its pixels."""
        self.require_open()
        async with self.current.lease() as version:
            # In a thread: a body of millions of values would hold up all others. Of the few threads for answers, so
            # that few bodies at a time are as large as JSON makes them.
            asked = await self._in_thread(lambda: read(version))
            with self.admission.taken(len(asked.pixels)):
                return asked, await version.batcher.outputs(asked.pixels)

    async def thumbnail(self, identity: str, number: int) -> tuple[bytes, str]:
        """The picture of a class or an id as a JPEG, and the version of the index. Raises `Refused`."""
        self.require_open()
        with self.admission.taken(1):
            async with self.current.lease() as version:
                gallery = version.gallery
                row = None if gallery is None else gallery.row(identity, number)
                if gallery is None or row is None:
                    raise Refused(404, "not_found", "There is no such picture.")
                try:
                    data = await self._in_thread(lambda: _gallery_bytes(gallery.path(row)))
                    return await version.decoders.thumbnail(data, THUMBNAIL_PX, gallery.crop(row)), gallery.version
                except (OSError, ValueError, Unreadable):
                    raise Refused(
                        404, "not_found", "The picture cannot be shown: its file is gone or unreadable."
                    ) from None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


async def _decoded(version: Version, picture: bytes) -> Decoded | Unreadable:
    if not picture:
        return Unreadable("no_picture", "empty file")
    try:
        return await version.decoders.decoded(picture)
    except Unreadable as error:
        return error


def _gallery_bytes(path: Path) -> bytes:
    return read_regular(path, _MOST_GALLERY_BYTES)


def _refusal(decoded: Sequence[Decoded | Unreadable]) -> Refused | None:
    errors = [one for one in decoded if isinstance(one, Unreadable)]
    if len(errors) < len(decoded):
        return None
    told = "The picture cannot be read" if len(errors) == 1 else "None of the pictures can be read; the first"
    return Refused(422, errors[0].code, f"{told}: {errors[0].reason}.")
