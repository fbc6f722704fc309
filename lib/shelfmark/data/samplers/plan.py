"""The images and the sizes from which samplers build the order of an epoch. Legend: S steps of an epoch, B batch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from shelfmark.data.samplers.groups import Groups

if TYPE_CHECKING:
    from shelfmark.data.samplers.options import SamplingOptions


@dataclass(frozen=True, eq=False)
class EpochPlan:
    """The images, and how many of them make up an epoch.

    labels: (N,) int64 of the table's rows, -1 for those that are never drawn. num_batches: S. batch_size: B, the draws
    of a batch. num_epochs: of the whole training. weights: (N,) of the table's rows, 0 or more; None: all the same.
    size_option: what errors call the batch size.
    """

    options: SamplingOptions
    labels: np.ndarray
    num_classes: int
    num_batches: int
    batch_size: int
    seed: int
    num_epochs: int = 1
    weights: np.ndarray | None = None
    size_option: str = "train.batch_size"

    @cached_property
    def groups(self) -> Groups:
        """The labelled rows, class by class: made for those orders alone that look at classes."""
        return Groups.of(self.labels, self.num_classes)

    @cached_property
    def num_labelled(self) -> int:
        """The rows that can be drawn."""
        return int(np.count_nonzero(self.labels >= 0))

    @property
    def num_draws(self) -> int:
        """Images that an epoch draws: S * B."""
        return self.num_batches * self.batch_size

    def batches(self, rows: np.ndarray) -> np.ndarray:
        """The first S * B of `rows` as batches: (S, B)."""
        return rows[: self.num_draws].reshape(self.num_batches, self.batch_size)


class PlannedOrder:
    """An order of epochs that a plan describes: what most samplers are."""

    def __init__(self, plan: EpochPlan) -> None:
        self.plan = plan

    @property
    def num_batches(self) -> int:
        return self.plan.num_batches
