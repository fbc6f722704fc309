"""The order of an epoch, and each process's part of it.

An order is a pure function of (seed, epoch): it has no state, so a resumed run, another number of
loader workers or of processes reads the same global batches. Legend: S steps of an epoch, B batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

from shelfmark.core.errors import UserError


class Draw(NamedTuple):
    """One image to be read. `occurrence` counts the earlier draws of this row in this epoch.

    With it, an image that a sampler draws several times in an epoch is augmented anew each time.
    """

    row: int
    epoch: int = 0
    occurrence: int = 0


class EpochOrder(Protocol):
    """Which rows of the table make up each global batch. `num_batches` (S) is the same for every epoch."""

    @property
    def num_batches(self) -> int: ...

    def rows(self, epoch: int) -> np.ndarray:
        """The epoch's global batches: (S, B) int64 rows of the table."""
        ...


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
    batches = order.rows(epoch)
    share = rank_share(batches.shape[1], world_size)
    mine = slice(rank * share, (rank + 1) * share)
    seen = np.bincount(batches[:start_step].ravel(), minlength=int(batches.max(initial=0)) + 1)
    for batch in batches[start_step:]:
        occurrences = _occurrences(batch, seen)
        yield [Draw(row, epoch, nth) for row, nth in zip(batch[mine].tolist(), occurrences[mine].tolist())]


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
    by_row = np.argsort(batch, kind="stable")
    rows = batch[by_row]
    place_among_equals = np.arange(len(rows)) - np.searchsorted(rows, rows)
    occurrences = np.empty_like(batch)
    occurrences[by_row] = seen[rows] + place_among_equals
    np.add.at(seen, batch, 1)
    return occurrences
