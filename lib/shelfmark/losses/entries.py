"""The entries of `losses:` in a config. Each has the options below and those of the loss that it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor

from shelfmark.losses.checks import require_not_negative
from shelfmark.losses.loss import HeadOutput, Loss, LossFunction, option, options_of


@dataclass(frozen=True)
class LossContext:
    """What a loss may need to know of the run. counts: (C,) int64, training images a class. seed: of random draws."""

    counts: Tensor
    device: torch.device
    seed: int = 0
    steps_per_epoch: int = 1


_TRIAL = LossContext(torch.ones(1, dtype=torch.int64), torch.device("cpu"))


@dataclass(frozen=True, kw_only=True)
class LossEntry:
    """Base of all entries; `entry_class` adds `name` and the options of a loss.

    Bad values raise ValueError when an entry is made; the config loader adds file, line and key.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    loss_class: ClassVar[type[Loss]]
    name: ClassVar[str]

    head: str = option(
        ...,
        "head that the loss is computed on: `classifier`, or a name under model.heads. With model.experts"
        " above 1 also `experts`, `expert_1`, `expert_2` and so on",
    )
    weight: float = option(1.0, "factor of this loss in the sum of all losses")
    from_epoch: int = option(
        0, "first epoch, counted from 0, in which the loss is part of the sum. Before it the loss is only logged"
    )
    until_epoch: int = option(
        0, "first epoch, counted from 0, in which the loss is no longer part of the sum. 0: it stays to the end"
    )

    def __post_init__(self) -> None:
        require_not_negative("weight", self.weight)
        require_not_negative("from_epoch", self.from_epoch)
        if self.until_epoch and self.until_epoch <= self.from_epoch:
            raise ValueError(f"until_epoch={self.until_epoch} must be above from_epoch={self.from_epoch}, or 0")
        self.check_options()

    def check_options(self) -> None:
        """Raises a ValueError for what the loss refuses, before there is a run."""
        self.loss_of(_TRIAL)

    @property
    def inputs(self) -> Mapping[str, tuple[str, HeadOutput]]:
        """For each option that names a head: the head, and what the loss consumes of it."""
        return {"head": (self.head, self.loss_class.consumes)}

    def build(self, context: LossContext) -> LossFunction:
        """The loss of a run."""
        return self.loss_of(context)

    def loss_of(self, context: LossContext, **more: Any) -> Any:
        """The loss with the entry's options, and of `more` and the run what it has fields for."""
        options = {one.name: getattr(self, one.key) for one in options_of(self.loss_class)}
        of_run = {"counts": context.counts.to(context.device), "seed": context.seed, **more}
        names = {one.name for one in fields(self.loss_class) if one.init}  # type: ignore[arg-type]
        return self.loss_class(**options, **{name: value for name, value in of_run.items() if name in names})


@dataclass(frozen=True, kw_only=True)
class RetrievalLossEntry(LossEntry):
    """An entry whose loss compares queries with a gallery."""

    memory_rows: int = option(
        0, "number of vectors of earlier batches that each batch is compared with too (cross-batch memory). 0: none"
    )
    memory_from_step: int = option(
        0, "first optimizer step that uses the memory. While the network changes fast, old vectors mislead"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("memory_rows", "memory_from_step"):
            require_not_negative(name, getattr(self, name))


Entry = TypeVar("Entry", bound=LossEntry)


def entry_class(name: str, loss: type[Loss], base: type[Entry]) -> type[Entry]:
    """The entries `{name: ..., head: ..., ...}` of a loss: `base`, the name, and an option for each of the loss's."""
    own: list[tuple[str, Any, Any]] = [("name", Literal[name], name), *(one.entry_field() for one in options_of(loss))]
    if loss.default_head:
        head = next(one for one in fields(base) if one.name == "head")
        own.append(("head", str, field(default=loss.default_head, metadata=head.metadata)))
    summary = " ".join((loss.__doc__ or "").split("\n\n")[0].split())
    about = {"__doc__": summary, "__module__": "shelfmark.losses", "loss_class": loss}
    return make_dataclass(f"{loss.__name__}Entry", own, bases=(base,), namespace=about, frozen=True, kw_only=True)
