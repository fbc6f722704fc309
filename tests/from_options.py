"""Parts built from options that a test names: each keyword is an option of one of the sections that the part reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from shelfmark.data import transforms
from shelfmark.data.options import AugmentOptions, DataOptions
from shelfmark.data.samplers import EpochOrder, SamplingOptions
from shelfmark.data.samplers import build_order as order_of
from shelfmark.data.transforms import Transform
from shelfmark.optim import LearningRate, ScheduleOptions


def train_transform(size: int, **options: Any) -> Transform:
    """Keywords: options of `augment` and of `data`."""
    data = {name: options.pop(name) for name in DataOptions.model_fields if name in options}
    return transforms.train_transform(size, AugmentOptions(**options), DataOptions(**data))


def eval_transform(size: int, eval_crop: float = 0.875, **data: Any) -> Transform:
    return transforms.eval_transform(size, DataOptions(input_size_px=size, eval_crop=eval_crop, **data))


def view_transform(size: int, views: str, eval_crop: float = 0.875, **data: Any) -> Transform:
    return transforms.view_transform(size, views, DataOptions(input_size_px=size, eval_crop=eval_crop, **data))


def build_order(
    name: str,
    labels: np.ndarray,
    num_classes: int,
    batch_size: int,
    seed: int,
    stages: Sequence[tuple[int, str]] = (),
    **options: Any,
) -> EpochOrder:
    """Keywords: options of `sampling`, and what else `shelfmark.data.samplers.build_order` takes."""
    sampling = {key: options.pop(key) for key in SamplingOptions.model_fields if key in options}
    switches = [{"from_epoch": epoch, "type": sampler} for epoch, sampler in stages]
    chosen = SamplingOptions(type=name, stages=switches, **sampling)
    return order_of(chosen, labels, num_classes, batch_size, seed, **options)


def learning_rate(base: float, name: str, steps_per_epoch: int, num_epochs: int, **schedule: Any) -> LearningRate:
    return LearningRate(base, ScheduleOptions(name=name, **schedule), steps_per_epoch, num_epochs)
