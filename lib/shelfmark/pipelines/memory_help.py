"""What helps a training that is out of memory: three options, with numbers from a forecast."""

from __future__ import annotations

import gc
import math
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch

from shelfmark.config.load import Loaded
from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.core.out_of_memory import OutOfMemory, memory_errors_told
from shelfmark.core.sizes import size_text
from shelfmark.pipelines.plan import plan
from shelfmark.recipe import Recipe
from shelfmark.runtime.forecast.forecast import USABLE, Forecast
from shelfmark.runtime.resume_plan import AUTO

T = TypeVar("T")
_NUM_OPTIONS = 3
_SMALLEST_PX, _STEP_PX = 64, 32


def with_memory_help(work: Callable[[], T], loaded: Loaded[Recipe], checkpoint: Path | None) -> T:
    """The result of `work`, a training of this recipe. UserError: it ran out of memory; the text says what helps."""
    try:
        with memory_errors_told():
            return work()
    except OutOfMemory as error:
        # The frames of the training, and the errors that led to this one, hold its tensors, whose room is needed.
        traceback.clear_frames(error.__traceback__)
        failed = str(error)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    helps = memory_help(loaded, None if checkpoint == AUTO else checkpoint)
    raise UserError(f"{failed}\n{helps}")


def memory_help(loaded: Loaded[Recipe], checkpoint: Path | None = None) -> str:
    """Lines on what would help, with the memory that each option would take where that can be measured here."""
    now = None
    # Of several processes each would measure, beside the others' memory.
    if os.environ.get("WORLD_SIZE", "1") == "1":
        say("out of memory: measuring smaller steps, to say what would help")
        now = _tried(loaded, checkpoint)
    if now is None:
        options = [f"  {option}: {what}" for option, what, _ in _options(loaded.config, None)]
        return "\n".join(["What helps (`shelfmark plan` has numbers):", *options[:_NUM_OPTIONS]])
    memory = now.memory
    lines = [
        f"A step of {now.at_once:,} images at once takes about {size_text(memory.total)} of {size_text(memory.limit)},"
        f" {size_text(memory.held.total + memory.held.gradients)} of it for weights, gradients and optimizer. What"
        " helps:"
    ]
    for option, what, total in islice(_measured_options(loaded, checkpoint, now), _NUM_OPTIONS):
        verdict = "" if total <= USABLE * memory.limit else ", not enough by itself"
        lines.append(f"  {option}: {what}; about {size_text(total)}{verdict}")
    return "\n".join(lines)


def _options(recipe: Recipe, now: Forecast | None) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Options, what they do, and what they change in the recipe, the mildest first."""
    train = recipe.train
    parts = 2 * train.accumulate_steps
    if now is not None and now.largest_at_once:
        # It did not fit, whatever the forecast says: other programs may have the memory.
        parts = max(parts, math.ceil(train.batch_size / now.largest_at_once))
    adds = all(loss.loss_class.adds_over_rows for loss in recipe.losses)
    if adds and not train.grad_cache and parts <= train.batch_size:
        what = f"the same batch of {train.batch_size}, in {parts} parts one after the other"
        yield f"train.accumulate_steps={parts}", what, {"train": {"accumulate_steps": parts}}
    elif (train.grad_cache or train.batch_size) > 1:
        half = (train.grad_cache or train.batch_size) // 2
        size = max(1, min(half, (now.largest_at_once if now else 0) or half))
        what = f"the same batch of {train.batch_size}, {size} at a time, with a second forward pass"
        yield f"train.grad_cache={size}", what, {"train": {"grad_cache": size}}
    if not recipe.model.grad_checkpointing:
        what = "activations are computed again in the backward pass, for about a third more time"
        yield "model.grad_checkpointing=true", what, {"model": {"grad_checkpointing": True}}
    if train.precision in ("fp32", "auto") and now is not None and now.precision == "fp32" and "cuda" in now.device:
        yield "train.precision=bf16", "activations of half the size", {"train": {"precision": "bf16"}}
    size_px = recipe.data.input_size_px
    smaller = max(_SMALLEST_PX, round(size_px * 0.7 / _STEP_PX) * _STEP_PX)
    if smaller < size_px:
        what = f"pictures of {smaller} px in place of {size_px}, which changes the scores"
        yield f"data.input_size_px={smaller}", what, {"data": {"input_size_px": smaller}}
    if train.batch_size > 1:
        fits = None if now is None else now.largest_batch
        size = train.batch_size // 2 if fits is None else max(1, min(fits, train.batch_size // 2))
        what = "a smaller batch, which changes the training: lower optim.lr with it"
        yield f"train.batch_size={size}", what, {"train": {"batch_size": size}}


def _measured_options(
    loaded: Loaded[Recipe], checkpoint: Path | None, now: Forecast
) -> Iterator[tuple[str, str, float]]:
    for option, what, change in _options(loaded.config, now):
        [(section, values)] = change.items()
        if "accumulate_steps" in values:
            yield option, what, now.total_at(math.ceil(now.shape.batch_size / values["accumulate_steps"]))
        elif "grad_cache" in values:
            yield option, what, now.total_at(values["grad_cache"])
        elif "batch_size" in values:
            # As many parts as now; with GradCache a part is as large as ever.
            at_once = math.ceil(values["batch_size"] / loaded.config.train.accumulate_steps)
            yield option, what, now.total_at(min(now.at_once, at_once))
        elif (then := _tried(_changed(loaded, section, values), checkpoint)) is not None:
            # Of the same program: this one has grown since it began.
            yield option, what, then.memory.total - then.memory.program + now.memory.program


def _changed(loaded: Loaded[Recipe], section: str, values: dict[str, Any]) -> Loaded[Recipe]:
    part = getattr(loaded.config, section).model_copy(update=values)
    return replace(loaded, config=loaded.config.model_copy(update={section: part}))


def _tried(loaded: Loaded[Recipe], checkpoint: Path | None) -> Forecast | None:
    """The forecast; None where it cannot be made, such as with an option that the network refuses."""
    try:
        with memory_errors_told(), redirect_stdout(StringIO()):
            return plan(loaded, checkpoint)
    except UserError:
        return None
