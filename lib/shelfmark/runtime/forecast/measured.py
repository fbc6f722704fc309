"""One stage of a training, measured: the bytes that it holds, and the bytes and seconds of a step.

Legend: n images that pass the network at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from shelfmark.core.contracts import Batch, Outputs
from shelfmark.core.heartbeat import beat
from shelfmark.core.out_of_memory import OutOfMemory, memory_errors_told
from shelfmark.engine.checkpoint_size import optimizer_bytes
from shelfmark.engine.live_bytes import peak_bytes
from shelfmark.engine.memory import CrossBatchMemory
from shelfmark.engine.state import TrainState
from shelfmark.engine.step import TrainStep

_SMALLEST = 4
_SAFE_SHARE = 0.7
"""A larger batch is tried only if it will take less than this share of the memory that is left."""
_LONGEST_S = 120.0
"""A whole step that will take longer is not measured."""


@dataclass(frozen=True)
class Held:
    """Bytes that a training holds between two steps."""

    weights: int
    gradients: int
    optimizer: int
    average: int
    memories: int

    @property
    def total(self) -> int:
        """Without the gradients, which a step makes."""
        return self.weights + self.optimizer + self.average + self.memories


class Peak(NamedTuple):
    """Bytes that are added to what is held at the highest point of a whole step, and of its forward pass alone."""

    num_images: int
    step: int
    forward: int


@dataclass(frozen=True)
class MeasuredStep:
    """held: between two steps. peaks: of steps with more and more images at once. at_once: images that
    pass at once in a step of this training. step_s: seconds of a step of the whole batch. is_whole: whether that step
    was taken; if not, step_s is scaled from the largest that was."""

    held: Held
    peaks: tuple[Peak, ...]
    at_once: int
    step_s: float
    is_whole: bool

    def peak_at(self, num_images: int) -> float:
        """The bytes that a step of so many images at once adds: on a straight line from the largest step measured."""
        largest = self.peaks[-1]
        return max(0.0, largest.step + self.image_bytes * (num_images - largest.num_images))

    @property
    def image_bytes(self) -> float:
        """The bytes of one image more."""
        many = self.peaks[-1]
        few = self.peaks[-2] if len(self.peaks) > 1 else Peak(0, many.step, 0)
        # In a small step the gradients are the highest point, which more images would not raise.
        return max(many.step - few.step, many.forward - few.forward) / (many.num_images - few.num_images)


def measured_step(state: TrainState, step: TrainStep, batch: Batch, rate: float, limit_bytes: int) -> MeasuredStep:
    """Takes a few steps with growing parts of the batch. The weights are spoilt.

    step: of a whole batch. limit_bytes: of memory; what would not fit is not tried.
    """
    share = len(batch)
    at_once = min(state.grad_cache or share, math.ceil(share / step.num_parts))
    part = TrainStep(state, step.clip_norm, step.mixing)
    # The first step makes the optimizer's state, and prepares kernels.
    smallest = min(_SMALLEST, at_once)
    part(_first(batch, smallest), rate)
    held = held_bytes(state)
    room = limit_bytes - held.total
    peaks: list[Peak] = []
    spent_s = 0.0
    for number in _sizes(smallest, at_once):
        if peaks and not _is_safe(peaks[-1], number, room, spent_s):
            break
        beat("step")
        try:
            with memory_errors_told():
                began = time.perf_counter()
                peaks.append(_peak(state, part, batch, number, rate))
                spent_s = time.perf_counter() - began
        except OutOfMemory:
            if not peaks:
                raise
            break
    return _timed(state, held, tuple(peaks), at_once, (step, part), batch, rate, spent_s)


def _peak(state: TrainState, step: TrainStep, batch: Batch, number: int, rate: float) -> Peak:
    device = state.precision.device
    # On the device already: the pictures are a line of their own in the forecast.
    some = _on(_first(batch, number), device)
    state.optimizer.zero_grad(set_to_none=True)
    added = peak_bytes(lambda: step(some, rate), device)
    state.optimizer.zero_grad(set_to_none=True)
    return Peak(number, added, peak_bytes(lambda: _forward(state, some), device))


def _timed(
    state: TrainState,
    held: Held,
    peaks: tuple[Peak, ...],
    at_once: int,
    steps: tuple[TrainStep, TrainStep],
    batch: Batch,
    rate: float,
    spent_s: float,
) -> MeasuredStep:
    """With the seconds of a whole step, or, where that would not fit or take too long, of the largest part.

    steps: of the whole batch, and of a part.
    """
    device, largest = state.precision.device, peaks[-1].num_images
    whole, part = steps
    if largest == at_once and spent_s * len(batch) / largest < _LONGEST_S:
        with suppress(OutOfMemory), memory_errors_told():
            return MeasuredStep(held, peaks, at_once, _seconds(lambda: whole(batch, rate), device), is_whole=True)
    some = _first(batch, largest)
    step_s = _seconds(lambda: part(some, rate), device) * len(batch) / largest
    return MeasuredStep(held, peaks, at_once, step_s, is_whole=False)


def held_bytes(state: TrainState) -> Held:
    """The bytes of a training's tensors, once it took a step."""
    weights = [*state.network.parameters(), *state.network.buffers()]
    average = [] if state.average is None else [*state.average.network.parameters(), *state.average.network.buffers()]
    return Held(
        weights=_bytes(weights),
        gradients=_bytes([one for one in state.network.parameters() if one.requires_grad]),
        optimizer=optimizer_bytes(state.optimizer),
        average=_bytes(average),
        memories=sum(_full(term.memory) for term in state.terms if term.memory is not None),
    )


def _full(memory: CrossBatchMemory) -> int:
    """The bytes of a memory once it is full; it has the rows of a step already."""
    return _bytes([*memory.state_dict().values()]) * memory.num_rows // len(memory) if len(memory) else 0


def _sizes(smallest: int, largest: int) -> Iterator[int]:
    """Doubling, up to the largest."""
    size = smallest
    while size < largest:
        yield size
        size *= 2
    yield largest


def _first(batch: Batch, number: int) -> Batch:
    return replace(batch, images=batch.images[:number], labels=batch.labels[:number], rows=batch.rows[:number])


def _on(batch: Batch, device: torch.device) -> Batch:
    return replace(batch, images=batch.images.to(device), labels=batch.labels.to(device))


def _is_safe(last: Peak, number: int, room: int, spent_s: float) -> bool:
    """Whether so many images will fit, and not take too long, by what the last ones took."""
    times = number / last.num_images
    return max(last.step, last.forward) * times < _SAFE_SHARE * room and spent_s * times < _LONGEST_S


def _forward(state: TrainState, batch: Batch) -> Outputs:
    with state.precision.autocast():
        outputs: Outputs = state.wrapped(batch.images)
    return outputs


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _bytes(tensors: list[torch.Tensor]) -> int:
    return sum(one.nbytes for one in tensors)
