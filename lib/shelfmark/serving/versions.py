"""One version of what a service answers with: model, gallery, decoding processes and batches, opened and closed whole.

A request works with one version from its beginning to its end. A new version takes the place of the old one between
two requests, and the old one is closed when its last request is answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from shelfmark.config.overrides import Override
from shelfmark.core.errors import UserError
from shelfmark.core.folders import MANIFEST, folder_to_read
from shelfmark.engine.checkpoint_folder import checkpoint_folder
from shelfmark.retrieval.index_files import THRESHOLDS
from shelfmark.serving.answers import Answerer
from shelfmark.serving.batcher import Batcher
from shelfmark.serving.decoders import Decoders
from shelfmark.serving.gallery import Gallery
from shelfmark.serving.limits import Limits
from shelfmark.serving.models import EMBEDDING, CheckpointModel, ExportedModel, Model, warm_up
from shelfmark.serving.promises import promise_of


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is served: an exported model or a checkpoint, one of the two, and an index. overrides: of the checkpoint's
    options. decoders: processes that decode. threads: of the processor, for the model."""

    model: Path | None = None
    checkpoint: Path | None = None
    index: Path | None = None
    overrides: Sequence[Override] = ()
    decoders: int = 2
    threads: int = 1

    @property
    def folders(self) -> list[Path]:
        return [folder for folder in (self.model, self._checkpoint_folder, self.index) if folder is not None]

    def stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Another value when one of the folders was published anew; None for a folder that is not there now."""
        return tuple(_stamp(folder, MANIFEST) for folder in self.folders)

    def stamp_of_thresholds(self) -> tuple[int, int, int] | None:
        """Another value when thresholds were learned: for the index, or for the checkpoint without one."""
        checkpoint = self._checkpoint_folder
        folder = self.index or (None if checkpoint is None else checkpoint.parent)
        return None if folder is None else _stamp(folder, THRESHOLDS)

    @property
    def _checkpoint_folder(self) -> Path | None:
        """The folder that the user's name of the checkpoint means."""
        if self.checkpoint is None:
            return None
        try:
            return checkpoint_folder(self.checkpoint)
        except UserError:  # gone for now; the next load says so
            return self.checkpoint


class Version:
    """users: requests that work with it."""

    def __init__(self, answerer: Answerer, decoders: Decoders, batcher: Batcher) -> None:
        self.answerer, self.decoders, self.batcher = answerer, decoders, batcher
        self.users = 0
        self.retired = False

    @classmethod
    async def open(cls, source: Source, limits: Limits) -> Version:
        """Raises a UserError where something is missing, damaged or does not fit; nothing is left open then."""
        answerer = await asyncio.to_thread(_read, source, limits)
        model = answerer.model
        decoders = Decoders(model.preparation.as_json(), source.decoders, limits)
        try:
            await decoders.start()
        except BaseException:
            await decoders.close()
            raise
        batcher = Batcher(model.run, limits.batch, limits.wait_s, lambda: decoders.under_way > 0)
        return cls(answerer, decoders, batcher)

    @property
    def model(self) -> Model:
        return self.answerer.model

    @property
    def gallery(self) -> Gallery | None:
        """None without an index."""
        return self.answerer.gallery

    async def close(self) -> None:
        await self.batcher.close()
        await self.decoders.close()


class Current:
    """The version that new requests get. opened: is called for each new one."""

    def __init__(self, source: Source, limits: Limits) -> None:
        self.source, self.limits = source, limits
        self.version: Version | None = None
        self.opened: Callable[[Version], None] = lambda version: None
        self._stamp: object = None
        self._one_at_a_time = asyncio.Lock()

    async def load(self) -> None:
        """Opens what is in the folders now and puts it in the old version's place. UserError: the old one stays."""
        async with self._one_at_a_time:
            # Read before the folders are: what is published meanwhile is loaded at the next look.
            self._stamp = self.source.stamp(), self.source.stamp_of_thresholds()
            version = await Version.open(self.source, self.limits)
            self.opened(version)
            before, self.version = self.version, version
        if before is not None:
            await self._retire(before)

    @property
    def is_stale(self) -> bool:
        """Whether a folder was published anew since the last load, and all are there."""
        folders = self.source.stamp()
        return (folders, self.source.stamp_of_thresholds()) != self._stamp and None not in folders

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Version]:
        """The current version, which stays open as long as the block lasts."""
        version = self.version
        if version is None:
            raise UserError("nothing is loaded")
        version.users += 1
        try:
            yield version
        finally:
            version.users -= 1
            if version.retired and not version.users:
                await version.close()

    async def close(self) -> None:
        version, self.version = self.version, None
        if version is not None:
            await self._retire(version)

    async def _retire(self, version: Version) -> None:
        version.retired = True
        if not version.users:
            await version.close()


def _read(source: Source, limits: Limits) -> Answerer:
    model: Model
    if source.model is not None:
        model = ExportedModel.open(source.model, source.threads)
    elif source.checkpoint is not None:
        model = CheckpointModel.open(source.checkpoint, source.overrides, source.threads)
    else:
        raise ValueError("neither a model nor a checkpoint")
    gallery = None
    if source.index is not None:
        gallery = Gallery.open(source.index, model.facts, model.outputs[EMBEDDING])
    promise = promise_of(model, gallery, source.index)
    warm_up(model, limits.batch)
    return Answerer(model, gallery, promise)


def _stamp(folder: Path, name: str) -> tuple[int, int, int] | None:
    try:
        found = (folder_to_read(folder) / name).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
