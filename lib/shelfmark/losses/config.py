"""What every loss entry of a config has, and what a loss is built with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor

from shelfmark.losses.checks import require_not_negative

Takes = Literal["logits", "vectors", "cosines", "proxies", "logits_and_vectors", "experts"]
"""What a loss wants of its head: a classifier's logits (N, C); a metric head's vectors (N, D); the cosines of a cosine
classifier or a proxy head, (N, C) or (N, C, K) for K proxies a class; a proxy head's vectors and weight; the logits of
one head and the vectors of another; or the logits of all experts together, (N, E, C). A loss that takes logits, on
head `experts`, is handed those of every expert as rows of their own."""


class LossFunction(Protocol):
    """A built loss: called with what a head gives for some rows and their labels, it is the loss of these rows alone.

    Of `proxies` it takes vectors, labels and the weight; of `logits_and_vectors` logits, labels and vectors.
    """

    @property
    def over_ranks(self) -> Callable[..., Tensor]:
        """As the call, but the loss of the rows of all processes: 0-dim, the same on each.

        Once parameter gradients are averaged over processes, as DistributedDataParallel does, the gradient is that of
        one process with all rows. `step=` is that of the optimizer and decides random draws.
        """


@dataclass(frozen=True)
class LossContext:
    """What a loss may need to know of the run. counts: (C,) int64, training images a class. seed: of random draws."""

    counts: Tensor
    device: torch.device
    seed: int = 0
    steps_per_epoch: int = 1


def described(text: str, default: Any = MISSING) -> Any:
    """A field whose description subclasses inherit: pydantic reads the docstrings of a class's own fields only."""
    return field(default=default, metadata={"description": text})


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """One entry of `losses:`. Subclasses add `name: Literal[...]` and their own options.

    The string under such an option is its description in `shelfmark config --schema`; an option that subclasses
    inherit has it by `described`. Bad values raise ValueError in `__post_init__`; the config loader adds file, line
    and key.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid", "use_attribute_docstrings": True}
    takes: ClassVar[Takes] = "logits"

    head: str = described("whose output the loss takes: `classifier`, or the name of a metric or proxy head")
    weight: float = described("factor of this loss in the sum", 1.0)
    from_epoch: int = described("first epoch (from 0) that counts it; before, it is logged only", 0)
    until_epoch: int = described("first epoch that counts it no more; 0: it counts to the end", 0)

    def __post_init__(self) -> None:
        require_not_negative("weight", self.weight)
        require_not_negative("from_epoch", self.from_epoch)
        if self.until_epoch and self.until_epoch <= self.from_epoch:
            raise ValueError(f"until_epoch={self.until_epoch} must be above from_epoch={self.from_epoch}, or 0")

    def wants(self) -> Mapping[str, tuple[str, Takes]]:
        """For each option that names a head, the head and what the loss takes of it."""
        return {"head": (self.head, self.takes)}

    def build(self, context: LossContext) -> LossFunction:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ComparingLossConfig(LossConfig):
    """An entry whose loss is a `ComparingLoss`."""

    takes: ClassVar[Takes] = "vectors"

    memory_rows: int = described(
        "vectors of earlier batches that this one is compared with too (a cross-batch memory); 0 is none", 0
    )
    memory_from_step: int = described(
        "first optimizer step that looks into the memory: while the network changes fast its contents mislead", 0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("memory_rows", "memory_from_step"):
            require_not_negative(name, getattr(self, name))
