"""What every loss entry of a config has, and what a loss is built with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""`loss(logits or embedding, labels)` -> 0-dim tensor."""


@dataclass(frozen=True)
class LossContext:
    """What a loss may need to know of the run. counts: (C,) int64, training images a class."""

    counts: Tensor
    device: torch.device


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """One entry of `losses:`. Subclasses add `name: Literal[...]` and their own options.

    The string under such an option is its description in `shelfmark config --schema`. Bad values raise ValueError
    in `__post_init__`; the config loader adds file, line and key.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid", "use_attribute_docstrings": True}
    global_batch: ClassVar[bool] = False
    """Whether the loss compares rows with each other, and so must see the batch of all processes."""

    head: str
    """whose output the loss takes: `classifier`, or the name of a metric head"""
    weight: float = 1.0
    """factor of this loss in the sum"""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(f"weight={self.weight} must be a finite number, 0 or above")

    def build(self, context: LossContext) -> LossFunction:
        raise NotImplementedError
