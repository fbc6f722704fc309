"""What a first recipe is chosen by, and what a choice is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from shelfmark.config.keys import is_within


class Choice(NamedTuple):
    """A dotted option with its value, in JSON's types. why: a few words for who wonders; '' if it needs none."""

    option: str
    value: Any
    why: str = ""


class Speed(NamedTuple):
    """Measured seconds for one image: `pass_s` through the network in evaluation, `step_s` in a step of training."""

    pass_s: float
    step_s: float


@dataclass(frozen=True)
class Facts:
    """counts: training images of each class. num_val: validation images. short_side_px: of a picture, the median.

    weights: backbone -> in words, where its published weights lie, of those that are on this machine.
    asked: the options that the user sets, by dotted name. num_processes: that share each batch. is_retrieval: the
    user's losses train other heads than the classifier, and val can be searched in itself.
    """

    counts: tuple[int, ...]
    num_val: int
    short_side_px: float
    has_gpu: bool = False
    num_cores: int = 1
    weights: Mapping[str, str] = field(default_factory=dict)
    asked: Mapping[str, Any] = field(default_factory=dict)
    num_processes: int = 1
    is_retrieval: bool = False

    @property
    def num_train(self) -> int:
        return sum(self.counts)

    @property
    def imbalance(self) -> float:
        """How many images the largest class has for one of the smallest."""
        return max(self.counts) / min(self.counts)

    def is_asked(self, option: str) -> bool:
        """Whether the user sets the option, a part of it, or the group that it is in."""
        return any(is_within(one, option) or is_within(option, one) for one in self.asked)

    def value(self, option: str, chosen: Any) -> Any:
        """The user's value of an option, or else the chosen one: other choices depend on it."""
        return self.asked.get(option, chosen)
