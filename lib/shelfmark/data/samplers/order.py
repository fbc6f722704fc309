"""The order of an epoch, and each process's part of it.

An order is a pure function of (seed, epoch): it has no state, so a resumed run, another number of
loader workers or of processes reads the same global batches. Legend: S steps of an epoch, B batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from shelfmark.core.errors import UserError


class Draw(NamedTuple):
    """One image to be read. `occurrence` counts the earlier draws of this row in this epoch.

    With it, an image that a sampler draws several times in an epoch is augmented anew each time.
    """

    row: int
    epoch: int = 0
    occurrence: int = 0


class Drawn(NamedTuple):
    """One global batch. rows: (B,) int64 of the table. occurrences: (B,), earlier draws of each in the epoch."""

    rows: np.ndarray
    occurrences: np.ndarray


class EpochOrder(Protocol):
    """Which rows of the table make up each global batch. `num_batches` (S) is the same for every epoch."""

    @property
    def num_batches(self) -> int: ...

    def rows(self, epoch: int) -> np.ndarray:
        """The epoch's global batches: (S, B) int64 rows of the table."""
        ...


@runtime_checkable
class ComputedOrder(Protocol):
    """An order that computes each batch when it is read: no array has the whole epoch."""

    def drawn(self, epoch: int, start_step: int = 0) -> Iterator[Drawn]:
        """The epoch's global batches from `start_step` on."""
        ...


def drawn_batches(order: EpochOrder, epoch: int, start_step: int = 0) -> Iterator[Drawn]:
    """The epoch's global batches from `start_step` on, computed one by one where the order can do so."""
    if isinstance(order, ComputedOrder):
        yield from order.drawn(epoch, start_step)
        return
    batches = order.rows(epoch)
    seen = np.bincount(batches[:start_step].ravel(), minlength=int(batches.max(initial=0)) + 1)
    for batch in batches[start_step:]:
        yield Drawn(batch, _occurrences(batch, seen))


def rank_batches(
    order: EpochOrder, epoch: int, start_step: int = 0, rank: int = 0, world_size: int = 1
) -> Iterator[list[Draw]]:
    """This process's part of each global batch of the epoch, from `start_step` on.

    Process `rank` of W takes the places rank * B / W to (rank + 1) * B / W of every batch. Occurrences
    are counted over the whole epoch and all processes, so neither W nor a resume changes a picture.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"rank={rank} must lie in 0..{world_size - 1}")
    if not 0 <= start_step <= order.num_batches:
        raise ValueError(f"start_step={start_step} must lie in 0..{order.num_batches}, the epoch's batches")
    for batch in drawn_batches(order, epoch, start_step):
        share = rank_share(len(batch.rows), world_size)
        mine = slice(rank * share, (rank + 1) * share)
        yield [Draw(row, epoch, nth) for row, nth in zip(batch.rows[mine].tolist(), batch.occurrences[mine].tolist())]


def rank_share(batch_size: int, world_size: int) -> int:
    """How many images of each global batch one of `world_size` processes takes."""
    share, left = divmod(batch_size, world_size)
    if left:
        raise UserError(
            f"train.batch_size={batch_size} is global and cannot be split evenly over {world_size} processes;"
            f" take {share * world_size or world_size} or {(share + 1) * world_size}."
        )
    return share


def _occurrences(batch: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """How often each place's row was drawn before, in this batch or an earlier one: (B,). Updates `seen`."""
    occurrences = seen[batch] + place_among_equals(batch)
    np.add.at(seen, batch, 1)
    return occurrences


def place_among_equals(batch: np.ndarray) -> np.ndarray:
    """(B,) int64: how often the row of each place stands in front of it. batch: (B,)."""
    by_row = np.argsort(batch, kind="stable")
    rows = batch[by_row]
    places = np.empty_like(batch)
    places[by_row] = np.arange(len(rows)) - np.searchsorted(rows, rows)
    return places
