"""`python main.py`: from a recipe to a run folder."""

from __future__ import annotations

import os
import platform
import sys
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shelfmark import __version__
from shelfmark.config.load import Loaded
from shelfmark.config.write import to_yaml
from shelfmark.core import dist
from shelfmark.core.checkout import checkout_state
from shelfmark.core.door import command_line
from shelfmark.core.files import unused_path, write_json, write_text
from shelfmark.core.heartbeat import working
from shelfmark.core.log import say
from shelfmark.core.out_of_memory import memory_errors_told
from shelfmark.core.stopping import Stopped, StopSignals
from shelfmark.core.together import from_main
from shelfmark.core.watch import Watch
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.image_scan import check_images
from shelfmark.engine.accounting import Accounting
from shelfmark.engine.checkpoint import load_checkpoint
from shelfmark.engine.checkpoint_size import checkpoint_bytes
from shelfmark.engine.checkpointer import BEST, LAST, Checkpointer
from shelfmark.engine.compiled import require_compiler
from shelfmark.engine.display import Display
from shelfmark.engine.hook import Hooks
from shelfmark.engine.hooks import (
    STOPPED_BY_ANOTHER,
    BadImages,
    Checkpoint,
    Evaluate,
    FiniteCheck,
    Preemption,
    WriteMetrics,
)
from shelfmark.engine.metrics_log import MetricsLog, read_metrics
from shelfmark.engine.precision import Precision
from shelfmark.engine.state import TrainState
from shelfmark.engine.step import TrainStep
from shelfmark.engine.trackers.tracker import require_packages
from shelfmark.engine.trainer import Trainer
from shelfmark.pipelines.evaluate import evaluate_on
from shelfmark.pipelines.memory_help import with_memory_help
from shelfmark.pipelines.report import report_of_training
from shelfmark.pipelines.train_parts import TrainParts, begin
from shelfmark.recipe import Recipe
from shelfmark.recipe.of_checkpoint import source_of_training
from shelfmark.reports.plots import curves
from shelfmark.runtime.best_model import scored_images, settle_best
from shelfmark.runtime.frozen_features import FrozenFeatures
from shelfmark.runtime.model_card.written import write_card
from shelfmark.runtime.resume_plan import (
    Mode,
    RunStart,
    run_folder,
)
from shelfmark.runtime.run_trackers import trackers_of
from shelfmark.runtime.splits import Splits
from shelfmark.runtime.train_stages import StagedLoader
from shelfmark.runtime.trained_model import open_model
from shelfmark.runtime.val_parts import choosing
from shelfmark.runtime.validation import Validation

NOTHING_TRAINED = "nothing was trained; the same command starts it again"


def train(
    loaded: Loaded[Recipe],
    resume: Path | None = None,
    mode: Mode | None = None,
    small_evaluation: bool = False,
    aside: bool = False,
) -> tuple[Path, dict[str, Any]]:
    """The run folder and its summary.

    resume: a checkpoint to continue or to finetune, or `AUTO`. aside: write to a new folder, whatever the checkpoint.
    Raises Stopped after a signal, once the training is saved.
    """
    return with_memory_help(lambda: _train(loaded, resume, mode, small_evaluation, aside), loaded, resume)


def _train(
    loaded: Loaded[Recipe], resume: Path | None, mode: Mode | None, small_evaluation: bool, aside: bool
) -> tuple[Path, dict[str, Any]]:
    device = dist.local_device(loaded.config.train.device)
    options = loaded.config.train
    with (
        StopSignals() as signals,
        dist.process_group(device),
        Watch(options.stall_s, options.stall_limit_s),
    ):
        with working("start"):
            if options.compile:
                require_compiler(device)
            require_packages(loaded.config.output.trackers)
            begun = begin(loaded, resume, mode, device, small_evaluation=small_evaluation, aside=aside)
            loaded, splits, start, parts = begun.loaded, begun.splits, begun.start, begun.parts
            if not small_evaluation:
                _check_images(loaded.config, splits)
        _stop_if_asked(signals)
        room = (checkpoint_bytes(parts.state), _num_checkpoints(loaded.config))
        with (
            run_folder(start, loaded.config.output.log_root, *room) as folder,
            memory_errors_told(lambda: _kept(folder)),
        ):
            signals.kept = lambda: _kept(folder)
            settle_best(start, parts.state.progress, folder, loaded.config, splits)
            _write_circumstances(folder, loaded)
            _say_where(loaded.config, parts.state, folder)
            _trainer(loaded.config, splits, start, parts, folder, signals).fit()
            try:
                summary = _finish(folder, splits)
            except Stopped as stopped:
                raise Stopped(stopped.number, f"training is complete; {_go_on(folder)} reports it") from None
            # There is nothing left to end.
            signals.forget()
            return folder, summary


def _num_checkpoints(recipe: Recipe) -> int:
    """The checkpoints of a whole run: the best and the last, and the one before the last."""
    return 2 if recipe.train.num_epochs == 1 else 1 + recipe.train.keep_last


def _check_images(recipe: Recipe, splits: Splits) -> None:
    tables = {"training": splits.train, "validation": splits.val, "retrieval": splits.retrieval}
    try:
        check_images(tables, recipe.data, recipe.output.log_root)
    except Stopped as stopped:
        raise Stopped(stopped.number, NOTHING_TRAINED) from None


def _stop_if_asked(signals: StopSignals) -> None:
    """Ends the run after a signal, before it has a folder. The signal may have reached one process alone."""
    if dist.any_of([bool(signals.received)])[0]:
        raise Stopped(signals.received or STOPPED_BY_ANOTHER, NOTHING_TRAINED)


def _say_where(recipe: Recipe, state: TrainState, folder: Path) -> None:
    name = f"{recipe.model.backbone} on {state.precision.device}, {state.precision.name}, {_processes()}"
    say(f"{name}; writing to {folder}")


def _trainer(
    recipe: Recipe, splits: Splits, start: RunStart, parts: TrainParts, folder: Path, signals: StopSignals
) -> Trainer:
    state, num_epochs = parts.state, recipe.train.num_epochs
    step = state.progress.step if start.resumed else 0
    log = MetricsLog(folder, step=step, epoch=state.progress.epoch, trackers=trackers_of(recipe, folder))
    checkpointer = Checkpointer(
        folder, state, _facts(recipe, splits, state.precision), lambda: hooks.state_dict(), recipe.train.keep_last
    )
    checkpoint = Checkpoint(
        state,
        checkpointer,
        every_epochs=recipe.train.checkpoint_every_epochs,
        num_epochs=num_epochs,
        every_steps=recipe.train.checkpoint_every_steps,
        every_minutes=recipe.train.checkpoint_every_minutes,
        is_saved=(folder / LAST).is_dir(),
    )
    preemption = Preemption(signals, checkpoint, _go_on(folder))
    data = recipe.data
    bad_images = BadImageLog(folder / "bad_images.csv", len(splits.train), data.max_bad_images, data.source)
    frozen = FrozenFeatures(recipe, splits.train, state, folder, bad_images)
    validate = preemption.around(_validation(recipe, splits, state, folder, frozen))
    hooks = Hooks(
        [
            BadImages(bad_images),
            Accounting(state, log, splits.train.labels, bad_images),
            FiniteCheck(state, log, splits.train.image_ids.__getitem__, recipe.train.max_bad_steps, folder),
            WriteMetrics(state, log, Display(), num_epochs),
            Evaluate(state, validate, recipe.eval.metric, log, recipe.eval.every_epochs, num_epochs, recipe.eval.ties),
            checkpoint,
            frozen,
            preemption,
        ]
    )
    if start.resumed:
        hooks.load_state_dict(parts.saved_hooks)

    def step_for(epoch: int) -> TrainStep:
        # The stage before is still there: what a signal saves meanwhile is of its end.
        preemption.around(partial(frozen.begin, epoch))()
        return parts.stages.step_for(epoch)

    return Trainer(
        state=state,
        step_for=step_for,
        loader=StagedLoader(parts.loader, frozen),
        learning_rate=parts.learning_rate,
        hooks=hooks,
        num_epochs=num_epochs,
        log_every_steps=recipe.train.log_every_steps,
    )


def _validation(recipe: Recipe, splits: Splits, state: TrainState, folder: Path, frozen: FrozenFeatures) -> Validation:
    val = None if splits.val is None else choosing(recipe, splits.val)
    num_images, data = 0 if val is None else len(val), recipe.data
    bad_images = BadImageLog(folder / "val_bad_images.csv", num_images, data.max_bad_images, data.source)
    return Validation(state, recipe, val, splits.retrieval, splits.train.counts, bad_images, frozen)


def _facts(recipe: Recipe, splits: Splits, precision: Precision) -> dict[str, Any]:
    """The facts in the manifest of each checkpoint, besides the run's progress."""
    table = splits.train
    return {
        "shelfmark": __version__,
        "config": recipe.model_dump(mode="json"),
        "num_classes": table.num_classes,
        "class_names": table.class_names,
        "counts": table.counts,
        "train_sha256": table.sha256,
        "val_is_held_out": splits.val_is_held_out,
        "open_set_classes": splits.open_classes,
        "metric": recipe.eval.metric,
        "precision": precision.name,
        **scored_images(splits),
    }


def _kept(folder: Path) -> str:
    """What is on the disk when a run ends at once, without saving."""
    return f"go on with {_go_on(folder)}" if (folder / LAST).is_dir() else f"no checkpoint was saved in {folder}"


def _go_on(folder: Path) -> str:
    return f"`{command_line('train', '--RESUME_MODEL', folder / LAST)}`"


def _finish(folder: Path, splits: Splits) -> dict[str, Any]:
    # Opened from disk, as a user will open it, so that the report is about the saved model.
    model = open_model(folder / BEST, source_of_training(load_checkpoint(folder / BEST)))
    summary = evaluate_on(model, splits.val, splits.retrieval, folder)

    def draw() -> None:
        with working("report"):
            scored = model.recipe.eval
            write_card(folder / BEST, summary, per_class=folder / "per_class.csv")
            curves(read_metrics(folder / "metrics.jsonl"), folder / "curves.png", scored.metric, scored.ties)

    from_main(draw)
    report_of_training(model, splits, folder)
    return summary


def _write_circumstances(folder: Path, loaded: Loaded) -> None:
    if not dist.is_main():
        return
    # First the files by which the folder is known as that of a run.
    write_json(unused_path(folder / "environment.json"), _environment())
    text, file = to_yaml(loaded), folder / "config.yaml"
    if not file.exists() or file.read_bytes() != text.encode("utf-8", "surrogateescape"):
        write_text(unused_path(file), text)


def _environment() -> dict[str, Any]:
    return {
        "command": sys.argv,
        "launch": dist.launch_id(),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "shelfmark": __version__,
        "git": checkout_state(Path(__file__).parent),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": {"cpu": platform.machine(), "cores": os.cpu_count()},
        "torch": torch.__version__,
        "numpy": np.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "processes": dist.world_size(),
        "threads": torch.get_num_threads(),
    }


def _processes() -> str:
    return "one process" if dist.world_size() == 1 else f"{dist.world_size()} processes"
