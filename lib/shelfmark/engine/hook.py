"""Hooks: objects whose methods are called around the steps of a run, in the order of their list.

Each hook has a name of its own, under which a checkpoint keeps its state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shelfmark.core.contracts import Batch
from shelfmark.engine.step import StepResult


@dataclass(frozen=True)
class StepDone:
    """One step of a run. rate: the learning rate. wait_s: how long the step waited for its batch. is_logged: whether
    the losses' gradients were measured, for the log. ends_epoch: whether this is the last step of its epoch. is_sound:
    () -> whether the present weights give this batch a finite loss; a collective."""

    batch: Batch
    result: StepResult
    rate: float
    wait_s: float
    is_logged: bool
    ends_epoch: bool
    is_sound: Callable[[], bool]


class Hook:
    """Does nothing: a subclass overrides the methods that it needs. Each method is called on every process.

    In `step_ends` and `epoch_ends` the step is counted already, and `progress.epoch` is the epoch that it belongs to.
    In `epoch_closed`, `progress.epoch` is the next one.
    """

    name = ""

    def epoch_begins(self, num_steps: int, rate: float) -> None:
        """num_steps: of the whole epoch. A resumed run may begin in the middle of it."""

    def step_ends(self, done: StepDone) -> None:
        """After the update, or after the step was skipped."""

    def epoch_ends(self, rate: float) -> None:
        """After the epoch's last step. rate: the learning rate of that step."""

    def epoch_closed(self) -> None:
        """After `epoch_ends` of all hooks."""

    def run_ends(self) -> None:
        """After the last epoch, or after an error."""

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed run needs: plain values and tensors. Each process calls it; rank 0's is saved."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from `state_dict()`."""


class Hooks:
    """Calls all hooks of a list. ValueError: two hooks have one name, so their states would overwrite each other."""

    def __init__(self, hooks: Sequence[Hook]) -> None:
        names = [hook.name for hook in hooks]
        if "" in names or len(set(names)) < len(names):
            raise ValueError(f"each hook needs a name of its own; these are {names}")
        self._hooks = list(hooks)

    def epoch_begins(self, num_steps: int, rate: float) -> None:
        for hook in self._hooks:
            hook.epoch_begins(num_steps, rate)

    def step_ends(self, done: StepDone) -> None:
        for hook in self._hooks:
            hook.step_ends(done)

    def epoch_ends(self, rate: float) -> None:
        for hook in self._hooks:
            hook.epoch_ends(rate)

    def epoch_closed(self) -> None:
        for hook in self._hooks:
            hook.epoch_closed()

    def run_ends(self) -> None:
        for hook in self._hooks:
            hook.run_ends()

    def state_dict(self) -> dict[str, Any]:
        """The hooks' states by name; hooks without state are left out."""
        states = {hook.name: hook.state_dict() for hook in self._hooks}
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, states: Mapping[str, Any]) -> None:
        """Hooks that the saved run did not have begin anew."""
        for hook in self._hooks:
            if hook.name in states:
                hook.load_state_dict(states[hook.name])
