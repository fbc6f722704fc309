"""`shelfmark plan`: what a training will take in memory and time, from a measured step of each of its parts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from shelfmark.config.load import Loaded
from shelfmark.core import dist
from shelfmark.core.contracts import Batch
from shelfmark.core.heartbeat import beat
from shelfmark.core.log import say
from shelfmark.core.memory import device_bytes, free_bytes, program_bytes
from shelfmark.core.stopping import raise_if_stopped
from shelfmark.engine.hooks import NO_METRIC, is_due
from shelfmark.pipelines.train_parts import Begun, begin
from shelfmark.recipe import Recipe, assemble
from shelfmark.recipe.frozen_epochs import epochs_alike
from shelfmark.runtime.forecast.forecast import USABLE, Forecast, Shape, Time, forecast
from shelfmark.runtime.forecast.measured import MeasuredStep, measured_step
from shelfmark.runtime.image_pass import evaluation_pass
from shelfmark.runtime.splits import Splits
from shelfmark.runtime.val_parts import choosing
from shelfmark.runtime.validation import RETRIEVAL_SCORES

_TRIED = 32
"""Images of val that are evaluated to measure the time of one."""


def plan(loaded: Loaded[Recipe], checkpoint: Path | None = None, memory_bytes: int | None = None) -> Forecast:
    """The forecast of a training in one process, as its recipe begins it. Nothing is written.

    checkpoint: whose weights it begins with. memory_bytes: of the device that it will run on; None takes this one's.
    """
    device = dist.local_device(loaded.config.train.device)
    program = program_bytes(device)
    limit = device_bytes(device) if memory_bytes is None else memory_bytes
    begun = begin(loaded, checkpoint, None if checkpoint is None else "finetune", device, aside=True)
    recipe, splits, parts = begun.loaded.config, begun.splits, begun.parts
    alike = epochs_alike(recipe)
    batches, read_s = _read(begun, alike)
    steps = _measured(begun, alike, batches)
    times = Time(
        num_steps=tuple(len(epochs) * parts.loader.num_batches(0) for epochs in alike),
        step_s=tuple(step.step_s for step in steps),
        read_s=read_s,
        evaluation_s=_evaluation_s(begun),
        has_workers=recipe.data.num_workers > 0,
    )
    shapes = [
        Shape(len(batch), batch.images.shape[-1], splits.train.num_classes, recipe.train.grad_cache)
        for batch in batches
    ]
    about = {"device": str(device), "precision": parts.state.precision.name}
    return forecast(steps, shapes, program, limit, times, about)


def _read(begun: Begun, alike: Sequence[range]) -> tuple[list[Batch], float]:
    """The first batch of each range of epochs, and the seconds that the slowest took, by all workers together."""
    recipe = _without_workers(begun.loaded.config)
    loader = assemble.train_loader(recipe, begun.splits.train, begun.parts.state.precision.device)
    batches, longest_s = [], 0.0
    for epochs in alike:
        began = time.perf_counter()
        batches.append(next(iter(loader.epoch(epochs.start))))
        longest_s = max(longest_s, time.perf_counter() - began)
    return batches, longest_s / max(1, begun.loaded.config.data.num_workers)


def _measured(begun: Begun, alike: Sequence[range], batches: Sequence[Batch]) -> list[MeasuredStep]:
    """A step of each range of epochs."""
    parts, steps = begun.parts, []
    device = parts.state.precision.device
    for epochs, batch in zip(alike, batches):
        raise_if_stopped()
        side = batch.images.shape[-1]
        named = f", as from epoch {epochs.start + 1} on" if len(alike) > 1 else ""
        say(f"measuring a step of {len(batch)} images of {side} px on {device}, {parts.state.precision.name}{named}")
        step = parts.stages.step_for(epochs.start)
        # What is free here decides what can be tried, whatever memory the forecast is for.
        room = int(USABLE * free_bytes(device))
        steps.append(measured_step(parts.state, step, batch, begun.loaded.config.optim.lr, room))
    return steps


def _evaluation_s(begun: Begun) -> float:
    """The seconds of all evaluations: those that choose the best epoch, and the one at the end."""
    recipe, splits, state = begun.loaded.config, begun.splits, begun.parts.state
    table = splits.retrieval if splits.val is None else splits.val
    if table is None or recipe.eval.metric == NO_METRIC:
        return 0.0
    network = state.weights_to_evaluate()
    network.eval()
    some = table.take(slice(0, min(len(table), _TRIED)))
    source = assemble.image_source(recipe, some)
    images = evaluation_pass(_without_workers(recipe), network, state.precision, source)
    began = time.perf_counter()
    for _ in images.share(alone=True):
        beat("evaluation")
    if state.precision.device.type == "cuda":
        torch.cuda.synchronize()
    each_s = (time.perf_counter() - began) / len(some)
    network.train()
    return each_s * _num_evaluated(recipe, splits)


def _num_evaluated(recipe: Recipe, splits: Splits) -> int:
    """The images of all evaluations of a training, each as often as it is passed."""
    num_val, num_retrieval = (0 if table is None else len(table) for table in (splits.val, splits.retrieval))
    num_choosing = 0 if splits.val is None else len(choosing(recipe, splits.val))
    if recipe.eval.metric.startswith(RETRIEVAL_SCORES):
        num_choosing += num_retrieval or num_val
    epochs = range(recipe.train.num_epochs)
    num_evaluations = sum(is_due(epoch, recipe.eval.every_epochs, recipe.train.num_epochs) for epoch in epochs)
    return num_evaluations * num_choosing + num_val + num_retrieval


def _without_workers(recipe: Recipe) -> Recipe:
    """Workers would have to be started for one batch, and their start would be what is measured."""
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"num_workers": 0})})
