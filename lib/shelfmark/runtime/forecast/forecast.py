"""Memory and time of a training, from one measured step of each of its parts: its stages and sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shelfmark.core.wording import counted
from shelfmark.runtime.forecast.measured import Held, MeasuredStep

USABLE = 0.95
"""Share of a memory that a training can count on; the rest is lost between the pieces."""
_INPUT_BYTES = 4
_LOGIT_COPIES = 3
"""Logits, their log-softmax and their gradient."""


@dataclass(frozen=True)
class Shape:
    """What a batch is: images, their side in pixels, and the classes that each is scored on."""

    batch_size: int
    size_px: int
    num_classes: int
    grad_cache: int

    @property
    def input_bytes(self) -> int:
        return self.batch_size * 3 * self.size_px**2 * _INPUT_BYTES

    def logits_bytes(self, num_images: int) -> int:
        return num_images * self.num_classes * _INPUT_BYTES


@dataclass(frozen=True)
class Memory:
    """Bytes at the highest point of a step. program: code and libraries, or the CUDA context. activations: whatever a
    step adds to what is held, but for gradients and pictures. logits: of the activations, one (n, C) array."""

    program: int
    held: Held
    inputs: int
    activations: int
    logits: int
    limit: int

    @property
    def total(self) -> int:
        return self.program + self.held.total + self.held.gradients + self.inputs + self.activations

    @property
    def fits(self) -> bool:
        return self.total <= USABLE * self.limit

    def as_json(self) -> dict[str, Any]:
        return {
            "weights": self.held.weights,
            "gradients": self.held.gradients,
            "optimizer": self.held.optimizer,
            "average": self.held.average,
            "memories": self.held.memories,
            "pictures": self.inputs,
            "activations": self.activations,
            "logits": self.logits,
            "program": self.program,
            "total": self.total,
            "limit": self.limit,
        }


@dataclass(frozen=True)
class Time:
    """num_steps, step_s: of each part of the training. read_s: seconds in which a batch is read, by all workers
    together. evaluation_s: of all evaluations."""

    num_steps: tuple[int, ...]
    step_s: tuple[float, ...]
    read_s: float
    evaluation_s: float
    has_workers: bool

    @property
    def training_s(self) -> float:
        return sum(number * self._with_reading(step_s) for number, step_s in zip(self.num_steps, self.step_s))

    @property
    def total_s(self) -> float:
        return self.training_s + self.evaluation_s

    @property
    def waits(self) -> bool:
        """Whether steps wait for pictures."""
        return self.has_workers and self.read_s > min(self.step_s)

    def _with_reading(self, step_s: float) -> float:
        return max(step_s, self.read_s) if self.has_workers else step_s + self.read_s

    def as_json(self) -> dict[str, Any]:
        return {
            "steps": sum(self.num_steps),
            "step_s": [*self.step_s],
            "read_s": self.read_s,
            "training_s": self.training_s,
            "evaluation_s": self.evaluation_s,
            "total_s": self.total_s,
        }


@dataclass(frozen=True)
class Forecast:
    """memory: of the part of the training that needs the most, and shape: its batch. at_once: the images that pass at
    once in a step. largest_at_once: how many would fit, 0 if none. largest_batch: the train.batch_size that comes with
    it; None with GradCache, whose batches are of any size. image_bytes: of one image more at once. sure: sentences on
    how much the numbers can be trusted."""

    device: str
    precision: str
    shape: Shape
    memory: Memory
    at_once: int
    largest_at_once: int
    largest_batch: int | None
    image_bytes: float
    time: Time
    sure: tuple[str, ...]

    def total_at(self, num_images: int) -> float:
        """The bytes of a step that takes so many images at once."""
        return self.memory.total - self.image_bytes * (self.at_once - num_images)

    def as_json(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "precision": self.precision,
            "batch_size": self.shape.batch_size,
            "images_at_once": self.at_once,
            "fits": self.memory.fits,
            "largest_at_once": self.largest_at_once,
            "largest_batch": self.largest_batch,
            "memory": self.memory.as_json(),
            "time": self.time.as_json(),
            "sure": [*self.sure],
        }


def forecast(
    steps: Sequence[MeasuredStep],
    shapes: Sequence[Shape],
    program_bytes: int,
    limit_bytes: int,
    time: Time,
    about: Mapping[str, str],
) -> Forecast:
    """steps, shapes: of each part of the training, such as a stage. about: `device` and `precision`, as they are
    called."""
    parts = list(zip(steps, shapes, strict=True))
    memories = [memory_of(step, shape, program_bytes, limit_bytes, step.at_once) for step, shape in parts]
    place = max(range(len(steps)), key=lambda number: memories[number].total)
    step, shape = parts[place]
    largest = min(largest_that_fits(*one, program_bytes, limit_bytes) for one in parts)
    num_parts = -(-shape.batch_size // step.at_once)
    return Forecast(
        about["device"],
        about["precision"],
        shape,
        memories[place],
        step.at_once,
        largest,
        None if shape.grad_cache else largest * num_parts,
        step.image_bytes,
        time,
        _sure(steps, about["device"], time),
    )


def memory_of(step: MeasuredStep, shape: Shape, program_bytes: int, limit_bytes: int, at_once: int) -> Memory:
    """The memory of a step that takes so many images at once."""
    added = step.peak_at(at_once)
    if shape.grad_cache:
        # The losses see the whole batch, whose backbone passes in parts.
        added += _LOGIT_COPIES * (shape.logits_bytes(shape.batch_size) - shape.logits_bytes(at_once))
    held = step.held
    return Memory(
        program_bytes,
        held,
        shape.input_bytes,
        max(0, round(added) - held.gradients),
        shape.logits_bytes(shape.batch_size if shape.grad_cache else at_once),
        limit_bytes,
    )


def largest_that_fits(step: MeasuredStep, shape: Shape, program_bytes: int, limit_bytes: int) -> int:
    """The most images that can pass at once; 0 if not even one can."""

    def fits(number: int) -> bool:
        whole = shape if shape.grad_cache else _of_size(shape, number * -(-shape.batch_size // step.at_once))
        return memory_of(step, whole, program_bytes, limit_bytes, number).fits

    low, high = 0, 1
    while fits(high) and high < 1 << 24:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _of_size(shape: Shape, batch_size: int) -> Shape:
    return Shape(batch_size, shape.size_px, shape.num_classes, shape.grad_cache)


def _sure(steps: Sequence[MeasuredStep], device: str, time: Time) -> tuple[str, ...]:
    told = []
    whole = all(step.is_whole for step in steps)
    largest = min(step.peaks[-1].num_images for step in steps)
    if whole:
        told.append("a whole step was taken, so memory and seconds are measured")
    else:
        told.append(
            f"the largest step that was taken had {counted(largest, 'image')}; what is larger is a straight line"
        )
    if device.startswith("cuda"):
        told.append("memory is counted by the allocator; another model of GPU differs by its context and its kernels")
    else:
        told.append("memory is counted operation by operation; what kernels take for themselves, on a GPU too, is not")
    told.append("seconds are of one step on this machine, as busy as it is now; other programs change them")
    if time.waits:
        told.append("steps wait for pictures; more data.num_workers, on as many cores, shorten the training")
    return tuple(told)
