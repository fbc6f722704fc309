"""What a first recipe is chosen by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Choice(NamedTuple):
    """An option of the recipe with its value. why: a few words for who wonders; '' where the value speaks."""

    option: str
    value: Any
    why: str = ""


class Speed(NamedTuple):
    """Measured seconds for one image: `pass_s` through the network in evaluation, `step_s` in a step of training."""

    pass_s: float
    step_s: float


@dataclass(frozen=True)
class Facts:
    """counts: training images of each class, in no order. num_val: validation images.

    short_side_px: the median over images of the shorter side. weights: backbone -> where its published weights lie, of
    those that are on this machine. asked: options that the user sets, by dotted name, with their values.
    """

    counts: tuple[int, ...]
    num_val: int
    short_side_px: float
    has_gpu: bool = False
    num_cores: int = 1
    weights: Mapping[str, str] = {}
    asked: Mapping[str, Any] = {}

    @property
    def num_train(self) -> int:
        return sum(self.counts)

    @property
    def imbalance(self) -> float:
        """Images of the largest class for one of the smallest."""
        return max(self.counts) / min(self.counts)

    def is_asked(self, option: str) -> bool:
        """Whether the user sets the option, a part of it, or the group that it is in."""
        return any(
            one == option or one.startswith(f"{option}.") or option.startswith(f"{one}.") for one in self.asked
        )

    def value(self, option: str, chosen: Any) -> Any:
        """The user's value of an option, or else what is chosen for it."""
        return self.asked.get(option, chosen)
