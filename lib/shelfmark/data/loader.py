"""Batches, read by worker processes. Legend: N images, B batch."""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import multiprocessing.context
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, TypeVar

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from shelfmark.core.allocator import keep_freed_memory
from shelfmark.core.contracts import Batch
from shelfmark.core.errors import UserError
from shelfmark.core.lineage import end_with_parent
from shelfmark.core.stopping import held_back, ignore_from_here
from shelfmark.data.dataset import ImageDataset, Sample
from shelfmark.data.finish import Finish
from shelfmark.data.notices import NOTICES, Notice
from shelfmark.data.samplers import Draw, EpochOrder, rank_batches
from shelfmark.data.sources import FetchingSource
from shelfmark.data.told_notices import tell_notices
from shelfmark.data.uploads import ready_batches

_CPU = torch.device("cpu")
Value = TypeVar("Value")


class EpochLoader(Protocol):
    """What a training reads: this process's part of the batches of each epoch."""

    def num_batches(self, epoch: int) -> int: ...
    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]: ...


class TrainLoader:
    """This process's part of the training batches. num_workers: 0 reads in the training process.

    finish: ends on the device what the dataset leaves to it; None if the dataset leaves nothing.
    The workers live as long as the loader. What they yield does not depend on their number.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        order: EpochOrder,
        num_workers: int,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
        finish: Finish | None = None,
        device: torch.device = _CPU,
    ) -> None:
        self.order = order
        self.finish, self._device = finish, device
        self._draws = _EpochDraws(order, rank, world_size)
        self._loader = _data_loader(_Reader(dataset), self._draws, num_workers, persistent=True, pin_memory=pin_memory)

    def num_batches(self, epoch: int) -> int:
        """How many batches the whole epoch has."""
        return self.order.num_batches

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The epoch's batches from `start_step` on. Raises UserError for an image that cannot be read."""
        self._draws.epoch, self._draws.start_step = epoch, start_step
        batches = _raising(self._loader)
        yield from batches if self.finish is None else ready_batches(batches, self.finish, self._device)


def eval_batches(
    dataset: ImageDataset,
    batch_size: int,
    num_workers: int,
    rank: int = 0,
    world_size: int = 1,
    rows: range | None = None,
) -> EvalBatches:
    """This process's share of the batches of `dataset` in row order, once, without padding.

    rows: consecutive ones, to read these alone.
    """
    return EvalBatches(dataset, batch_size, num_workers, rank, world_size, rows)


class EvalBatches:
    """Batches that can be iterated again. `len` is the largest possible number of batches.

    Of M batches, process r of W takes those from r * M / W to (r + 1) * M / W. So the shares in rank order are the
    batches of one process alone, with the same rows in each batch, as the last bits of a network's output depend on the
    other rows. A skipped picture is missing from its batch. If no picture of the share could be read, there is one
    empty batch, which carries the reports; otherwise no batch is empty.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        batch_size: int,
        num_workers: int,
        rank: int,
        world_size: int,
        rows: range | None = None,
    ) -> None:
        rows = range(len(dataset)) if rows is None else rows
        num_batches = -(-len(rows) // batch_size)
        start, stop = (rows.start + batch_size * (num_batches * place // world_size) for place in (rank, rank + 1))
        self._draws = _RowDraws(start, min(stop, rows.stop), batch_size)
        self._loader = _data_loader(_Reader(dataset), self._draws, min(num_workers, len(self._draws)))

    def __len__(self) -> int:
        return len(self._draws)

    def __iter__(self) -> Iterator[Batch]:
        return _without_empty(_raising(self._loader))


def worked(work: Callable[[Sequence[int]], Value], rows: range, batch_size: int, num_workers: int) -> Iterator[Value]:
    """What `work` gives for each batch of rows, in their order; worker processes call it. work: can be pickled.

    A UserError of `work` is raised here.
    """
    draws = _RowDraws(rows.start, rows.stop, batch_size)
    return _raising(_data_loader(_Worker(work), draws, min(num_workers, len(draws))))


def collate(samples: Sequence[Sample]) -> Batch:
    """One batch of the samples that have an image, and the failures of all."""
    read = [sample for sample in samples if sample.image is not None]
    images = [sample.image for sample in read if sample.image is not None]
    draws = [sample.draws for sample in read if sample.draws is not None]
    return Batch(
        # Stacked straight into shared memory, where this is a worker.
        images=default_collate(images) if images else torch.zeros(0, 3, 0, 0),
        labels=torch.tensor([sample.label for sample in read], dtype=torch.int64),
        rows=torch.tensor([sample.row for sample in read], dtype=torch.int64),
        bad=tuple(bad for sample in samples for bad in sample.bad),
        draws=torch.stack(draws) if draws else None,
    )


class _EpochDraws:
    """The batches of draws of the epoch that was set last, so that the same workers serve all epochs."""

    def __init__(self, order: EpochOrder, rank: int, world_size: int) -> None:
        self.order, self.rank, self.world_size = order, rank, world_size
        self.epoch, self.start_step = 0, 0

    def __iter__(self) -> Iterator[list[Draw]]:
        return rank_batches(self.order, self.epoch, self.start_step, self.rank, self.world_size)


class _RowDraws:
    """The rows from `start` to `stop`, in order, in batches."""

    def __init__(self, start: int, stop: int, batch_size: int) -> None:
        self.rows, self.batch_size = range(start, stop), batch_size

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        for at in range(0, len(self.rows), self.batch_size):
            yield [Draw(row) for row in self.rows[at : at + self.batch_size]]


class _Read(NamedTuple):
    """value: a batch, or what a work gave. A UserError is a value too: raised in a worker, it would arrive as another
    exception, with a traceback as its text."""

    value: Any
    notices: tuple[Notice, ...]


class _Reader(Dataset[Any]):
    """Reads and collates a whole batch."""

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset = dataset

    def __getitems__(self, draws: list[Draw]) -> _Read:
        if isinstance(self.dataset.source, FetchingSource):
            self.dataset.source.fetch([draw.row for draw in draws])
        try:
            return _Read(collate([self.dataset[draw] for draw in draws]), NOTICES.found())
        except UserError as error:
            return _Read(error, NOTICES.found())


class _Worker(Dataset[Any]):
    """As `_Reader`, of any work on rows."""

    def __init__(self, work: Callable[[Sequence[int]], Any]) -> None:
        self.work = work

    def __getitems__(self, draws: list[Draw]) -> _Read:
        try:
            return _Read(self.work([draw.row for draw in draws]), NOTICES.found())
        except UserError as error:
            return _Read(error, NOTICES.found())


def _data_loader(
    dataset: Dataset[Any],
    draws: _EpochDraws | _RowDraws,
    num_workers: int,
    persistent: bool = False,
    pin_memory: bool = False,
) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        batch_sampler=draws,  # type: ignore[arg-type]
        num_workers=num_workers,
        multiprocessing_context=_new_processes() if num_workers and _fetches(dataset) else None,
        collate_fn=_as_it_is,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
        persistent_workers=persistent and num_workers > 0,
        # The loader draws a seed for its workers' generators, which nothing uses. It takes the seed from this
        # generator, not from the global one, on which dropout depends.
        generator=torch.Generator(),
    )


def _fetches(dataset: Dataset[Any]) -> bool:
    return isinstance(dataset, _Reader) and isinstance(dataset.dataset.source, FetchingSource)


def _new_processes() -> multiprocessing.context.ForkServerContext:
    """Starts workers that are no forks of this process. They are forks of one that has waited since this module was
    imported, so that only the first has to wait for its imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _as_it_is(batch: Any) -> Any:
    return batch


def _start_worker(worker: int) -> None:
    # What the training process left to its collector is never collected here: an end of such an object may wait for
    # threads that a fork does not have, for ever. Pages that a collection would mark stay shared, too.
    gc.freeze()
    keep_freed_memory()
    cv2.setNumThreads(0)
    # A signal to stop may reach every process of a run. Workers ignore it: the training process needs batches to
    # finish its step, and ends its workers itself.
    ignore_from_here()
    end_with_parent()


_reading: weakref.WeakSet[Any] = weakref.WeakSet()
"""The iterators whose workers live."""


@atexit.register
def _end_workers() -> None:
    """Ends the workers that are left where the process ends. Python would end them by SIGTERM, which they ignore, and
    wait for them for ever."""
    for batches in list(_reading):
        batches._shutdown_workers()


class _Passage:
    """One passage over a loader's batches. It is gone when nothing reads them any more."""


def _started(loader: DataLoader[Any], passage: _Passage) -> Iterator[_Read]:
    """The loader's batches. Its workers start here, and until `_start_worker` torch lets a SIGTERM end them.

    The finalizer refers to the iterator, so the iterator is whole when it is asked to end its workers. Without that,
    where a cycle of references holds both, as a traceback does, the collector closes the queues first: no worker hears
    that it shall end, and torch then sends the SIGTERM that it ignores.
    """
    with held_back():
        batches = iter(loader)
    if hasattr(batches, "_shutdown_workers") and batches not in _reading:
        _reading.add(batches)
        weakref.finalize(loader if loader.persistent_workers else passage, batches._shutdown_workers).atexit = False
    return batches


def _raising(loader: DataLoader[Any]) -> Iterator[Any]:
    passage = _Passage()
    for batch, notices in _started(loader, passage):
        tell_notices(notices)
        if isinstance(batch, UserError):
            try:
                raise batch
            finally:
                # The error refers to this frame. If this frame referred to the error too, the workers would live until
                # the next collection.
                del batch
        yield batch


def _without_empty(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The batches that have images; the reports of an empty one go to a neighbour."""
    held = next(batches, None)
    if held is None:
        return
    for batch in batches:
        if len(held) and len(batch):
            yield held
            held = batch
        else:
            held = replace(max(held, batch, key=len), bad=held.bad + batch.bad)
    yield held
