"""Whether a step can learn one batch by heart. Legend: N rows of this process's batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean

from shelfmark.core.contracts import Batch
from shelfmark.core.heartbeat import beat
from shelfmark.engine.checks.answers import right_answers
from shelfmark.engine.step import StepResult, TrainStep

MAX_STEPS = 200
NEAR_ZERO = 0.05
"""Share of the first loss that counts as near zero."""
_SMALL = 0.01
_WARMUP_STEPS, _EVERY, _WINDOW = 10, 10, 20
_FALLEN = 0.1
STANDS_STILL = 0.01
"""A fall by less than this share, from one window of steps to the next, is no fall."""


@dataclass(frozen=True)
class Overfit:
    """How a batch was learned.

    losses: of each step, by name, with `loss`, the weighted sum, before the step's update. right: share of right
    answers by head, at the end. skipped: why the last step was not taken; '' if it was. gradient_norm: of the first
    step. no_gradient: modules of the network, frozen ones left out, that the first step gave no gradient.
    """

    rate: float
    losses: tuple[Mapping[str, float], ...]
    right: Mapping[str, float]
    skipped: str
    gradient_norm: float
    no_gradient: tuple[str, ...]

    @property
    def first(self) -> float:
        return self.losses[0]["loss"]

    @property
    def last(self) -> float:
        return self.losses[-1]["loss"]

    @property
    def is_near_zero(self) -> bool:
        return is_near_zero(self.first, self.last)

    @property
    def is_learned(self) -> bool:
        """Whether the loss is near zero; or every answer is right, and the loss below half or at its floor, which label
        smoothing, margins and temperatures lift above zero."""
        if self.skipped:
            return False
        totals = [one["loss"] for one in self.losses]
        all_right = bool(self.right) and all(share == 1 for share in self.right.values())
        return self.is_near_zero or (all_right and (self.last < self.first / 2 or _may_be_at_its_floor(totals)))

    @property
    def late_fall(self) -> float:
        """By which share of itself the loss fell between the last two windows of steps; below 0 if it rose."""
        return _late_fall([one["loss"] for one in self.losses])


def overfit(
    step: TrainStep,
    batch: Batch,
    rate: float,
    position: int = 0,
    max_steps: int = MAX_STEPS,
    before_step: Callable[[], None] = lambda: None,
) -> Overfit:
    """Trains on the batch alone until its loss is near zero or at its floor, at most `max_steps` steps; a collective.

    rate: reached after ten steps. position: the step that the losses see; it does not move, so that their weights and
    draws stay. before_step: may raise, to end the check. The step should not mix images: a mixed label cannot be
    learned to zero.
    """
    state = step.state
    images, labels = (one.to(state.precision.device) for one in (batch.images, batch.labels))
    losses: list[dict[str, float]] = []
    norm, skipped, right = 0.0, "", dict[str, float]()
    no_gradient: tuple[str, ...] = ()
    for number in range(max_steps):
        beat("step")
        before_step()
        result = step(batch, rate * min(1.0, (number + 1) / _WARMUP_STEPS), position)
        losses.append({name: float(value) for name, value in result.losses.items()})
        if number == 0:
            norm, no_gradient = float(result.gradient_norm), _without_gradient(step, result)
        skipped = result.skipped
        if skipped or is_near_zero(losses[0]["loss"], losses[-1]["loss"]):
            break
        if number % _EVERY == _EVERY - 1 and _may_be_at_its_floor([one["loss"] for one in losses]):
            right = right_answers(state, images, labels, position, step.num_parts)
            if right and all(share == 1 for share in right.values()):
                break
    if not skipped:
        right = right_answers(state, images, labels, position, step.num_parts)
    return Overfit(rate, tuple(losses), right, skipped, norm, no_gradient)


def is_near_zero(first: float, last: float) -> bool:
    return abs(last) <= max(NEAR_ZERO * abs(first), _SMALL)


def _may_be_at_its_floor(losses: list[float]) -> bool:
    has_fallen = losses[-1] < (1 - _FALLEN) * losses[0]
    return len(losses) >= 2 * _WINDOW and has_fallen and abs(_late_fall(losses)) < STANDS_STILL


def _late_fall(losses: list[float]) -> float:
    window = min(_WINDOW, max(1, len(losses) // 2))
    before, after = fmean(losses[-2 * window : -window] or losses[:1]), fmean(losses[-window:])
    return (before - after) / max(abs(before), 1e-12)


def _without_gradient(step: TrainStep, result: StepResult) -> tuple[str, ...]:
    """The network's parts that learn, by name, and that this step gave no gradient other than zero."""
    if result.skipped:
        return ()
    found = []
    for name, module in step.state.network.named_children():
        parts = module.named_children() if name == "heads" else [("", module)]
        for inner, part in parts:
            learning = [one for one in part.parameters() if one.requires_grad]
            if learning and not any(one.grad is not None and bool(one.grad.any()) for one in learning):
                found.append(f"{name}.{inner}" if inner else name)
    return tuple(found)
