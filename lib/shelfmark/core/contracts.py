"""The values that pass between rooms. Legend: N rows, C classes, D embedding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from shelfmark.core.strings import Strings

UNLABELLED = -1
"""The label of a row without one. Losses leave such a row out, whatever numbers it holds."""


class BadImage(NamedTuple):
    """One picture that could not be read: its row in the table, its path and why."""

    row: int
    path: str
    reason: str


@dataclass(frozen=True)
class Batch:
    """A batch of a loader.

    images: (N, 3, H, W) float32, normalised; or (N, F), the features that a frozen backbone gives for them.
    labels: (N,) int64, -1 where there is none.
    rows: (N,) int64, each image's row in the annotation table, which is its identity.
    bad: the pictures that could not be read while this batch was made.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    bad: tuple[BadImage, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def pin_memory(self) -> Batch:
        """Called by the loader on a machine with a GPU."""
        return replace(
            self, images=self.images.pin_memory(), labels=self.labels.pin_memory(), rows=self.rows.pin_memory()
        )


class Proxies(NamedTuple):
    """What a proxy head returns: unit embeddings (N, d) of the batch, and its weight (C, J, d), J proxies a class."""

    embeddings: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Outputs:
    """The outputs of a network.

    embedding: (N, D), un-normalised: the features that retrieval and calibration stand on.
    heads: by name; `classifier` holds the logits (N, C), a metric head its normalised (N, d) vectors, a proxy head
    its Proxies. With X experts, `experts` holds the logits of all, (N, X, C), `expert_1` ... `expert_X` the logits of
    one expert, (N, C), and `classifier` the mean over experts.
    """

    embedding: Tensor
    heads: Mapping[str, Tensor | Proxies]

    @property
    def logits(self) -> Tensor:
        logits = self.heads["classifier"]
        assert isinstance(logits, Tensor)
        return logits


@dataclass(frozen=True)
class Embeddings:
    """Features of one set of images, un-normalised, row by row.

    features: (N, D) float32, often memory-mapped. labels: (N,) int64, -1 where there is none.
    manifest: how they were made (config hash, checkpoint hash, rows hash).
    rows: (N,) int64, each image's row in the annotation table, 0..N-1 by default. Images that could not be read have
    no row here.
    boxes: (N, 4) float32, the part of the picture that each row is of, see `data.table`; None without boxes.
    """

    features: np.ndarray
    labels: np.ndarray
    image_ids: Strings
    paths: Strings
    manifest: Mapping[str, object] = field(default_factory=dict)
    rows: np.ndarray = field(default=None)  # type: ignore[arg-type]
    boxes: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.rows is None:
            object.__setattr__(self, "rows", np.arange(len(self.labels)))

    def __len__(self) -> int:
        return len(self.labels)
