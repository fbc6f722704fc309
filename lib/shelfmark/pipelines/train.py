"""`python main.py`: from a recipe to a run folder."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shelfmark import __version__
from shelfmark.config.load import Loaded
from shelfmark.config.write import to_yaml
from shelfmark.core import dist
from shelfmark.core.errors import UserError
from shelfmark.core.files import unused_path, write_json, write_text
from shelfmark.core.log import say, warn
from shelfmark.core.rng import derive_seed
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.loader import TrainLoader
from shelfmark.engine.checkpoint import Checkpoint, copy_checkpoint, load_checkpoint, save_checkpoint
from shelfmark.engine.display import Display
from shelfmark.engine.journal import Journal, read_journal
from shelfmark.engine.precision import Precision
from shelfmark.engine.progress import Progress, restore_random_state
from shelfmark.engine.step import TrainStep
from shelfmark.engine.trainer import Rhythm, Trainer
from shelfmark.models import Network, load_matching
from shelfmark.optim import StagedRate
from shelfmark.pipelines.class_means import begin_with_class_means
from shelfmark.pipelines.evaluate import evaluate_on
from shelfmark.pipelines.opened import open_model
from shelfmark.pipelines.splits import Splits, read_splits
from shelfmark.pipelines.start import Mode, Start, best_so_far, decide_start, open_run_folder
from shelfmark.pipelines.validation import Validation
from shelfmark.recipe import Recipe, assemble
from shelfmark.reports.plots import curves


def train(
    loaded: Loaded, resume: Path | None = None, mode: Mode | None = None, small_evaluation: bool = False
) -> tuple[Path, dict[str, Any]]:
    """The run folder and its summary. resume: a checkpoint to continue or to finetune."""
    recipe: Recipe = loaded.config
    device = dist.local_device(recipe.train.device)
    with dist.process_group(device):
        checkpoint = load_checkpoint(resume) if resume else None
        assemble.make_data(recipe)
        splits = read_splits(recipe, small_evaluation)
        start = decide_start(recipe, splits.train, checkpoint, mode)
        say(start.reason)
        parts = _build(recipe, splits, start, device)
        folder = open_run_folder(start, recipe.output.log_root)
        _write_circumstances(folder, loaded)
        say(f"{recipe.model.backbone} on {device}, {parts.steps.precision.name}, {_processes()}; writing to {folder}")
        trainer = _trainer(recipe, splits, start, parts, folder)
        try:
            trainer.fit()
        finally:
            trainer.display.close()
            trainer.journal.close()
        return folder, _finish(folder, splits)


@dataclass(frozen=True)
class _Parts:
    network: Network
    steps: _Steps
    loader: TrainLoader
    learning_rate: StagedRate


class _Steps:
    """The training step of each stage: `train.stages` gives every stage an optimizer of its own."""

    def __init__(self, recipe: Recipe, splits: Splits, network: Network, steps_per_epoch: int, device: torch.device):
        self.recipe = recipe
        self.network = network
        self.precision = Precision.resolve(recipe.train.precision, device)
        self.terms = assemble.loss_terms(recipe, splits.train, device, steps_per_epoch)
        stages = range(1 + len(recipe.train.stages))
        self.mixing = [assemble.mixing(recipe, splits.train, stage) for stage in stages]
        self.stage = 0
        self.current = self._step()

    def go_on_from(self, checkpoint: Checkpoint, same_data: bool) -> None:
        """The step of the last epoch that the checkpoint trained in, with its optimizer; weights stay as loaded."""
        progress = checkpoint.state["progress"]
        self.stage = assemble.stage_of(self.recipe, max(0, progress["epoch"] - (progress["step_in_epoch"] == 0)))
        assemble.enter_stage(self.recipe, self.network, self.stage, anew=False)
        self.current = self._step()
        _restore_step(self.current, checkpoint, same_data)

    def at(self, epoch: int) -> TrainStep:
        """The step that trains an epoch; where a stage begins with it, a new one."""
        stage = assemble.stage_of(self.recipe, epoch)
        if stage != self.stage:
            say(f"epoch {epoch + 1}: stage {stage + 1} of train.stages begins")
            self.stage = stage
            assemble.enter_stage(self.recipe, self.network, stage, anew=True)
            self.current = self._step()
        return self.current

    def _step(self) -> TrainStep:
        return TrainStep(
            self.network,
            self.terms,
            assemble.optimizer(self.recipe, self.network),
            self.precision,
            clip_norm=self.recipe.optim.clip_norm,
            grad_cache=self.recipe.train.grad_cache,
            mixing=self.mixing[self.stage],
        )


def _build(recipe: Recipe, splits: Splits, start: Start, device: torch.device) -> _Parts:
    torch.manual_seed(derive_seed(recipe.seed, "layers", dist.rank()))
    network = _network(recipe, splits.train.num_classes, start).to(device)
    loader = assemble.train_loader(recipe, splits.train, device)
    learning_rate = assemble.learning_rate(recipe, loader.num_batches(0))
    steps = _Steps(recipe, splits, network, loader.num_batches(0), device)
    if recipe.model.classifier.init == "class_means" and start.checkpoint is None:
        begin_with_class_means(network, recipe, splits.for_means, steps.precision)
    _warn_of_parts(recipe, network)
    if start.resumed:
        steps.go_on_from(start.resumed, same_data=_has_same_data(start.resumed, splits))
    return _Parts(network, steps, loader, learning_rate)


def _trainer(recipe: Recipe, splits: Splits, start: Start, parts: _Parts, folder: Path) -> Trainer:
    trainer = Trainer(
        step=parts.steps.current,
        step_for=parts.steps.at,
        loader=parts.loader,
        learning_rate=parts.learning_rate,
        rhythm=Rhythm(
            num_epochs=recipe.train.num_epochs,
            log_every_steps=recipe.train.log_every_steps,
            checkpoint_every_steps=recipe.train.checkpoint_every_steps,
            checkpoint_every_epochs=recipe.train.checkpoint_every_epochs,
            evaluate_every_epochs=recipe.eval.every_epochs,
        ),
        metric=recipe.eval.metric,
        validate=Validation(
            parts.network,
            recipe,
            splits.val,
            splits.retrieval,
            splits.train.counts,
            parts.steps.precision,
            BadImageLog(folder / "val_bad_images.csv", num_images=0 if splits.val is None else len(splits.val)),
        ),
        save=_saver(folder, parts.network, recipe, splits),
        progress=Progress(),
        journal=Journal(folder, step=start.resumed.manifest["step"] if start.resumed else 0),
        display=Display(),
        bad_images=BadImageLog(folder / "bad_images.csv", num_images=len(splits.train)),
    )
    if start.resumed:
        _restore(trainer, start.resumed, same_data=_has_same_data(start.resumed, splits))
        if start.folder is None:
            _take_best_along(trainer, best_so_far(start.resumed), folder)
    return trainer


def _take_best_along(trainer: Trainer, best: Path | None, folder: Path) -> None:
    if best is None:
        trainer.progress.best_score = trainer.progress.best_epoch = None
    elif dist.is_main():
        copy_checkpoint(best, folder / "best_model")


def _network(recipe: Recipe, num_classes: int, start: Start) -> Network:
    network = assemble.network(recipe, num_classes, load_weights=start.checkpoint is None)
    if start.checkpoint is not None:
        fresh = load_matching(network, start.checkpoint.model)
        if fresh and start.kind == "resume":
            raise UserError(
                f"{start.checkpoint.folder} does not fit this model: {', '.join(fresh)}; use --mode finetune."
            )
        if fresh:
            say(f"starting anew, because the number of classes changed: {', '.join(fresh)}")
        if start.kind == "finetune":
            network.fold_class_scale()
    return network


def _warn_of_parts(recipe: Recipe, network: Network) -> None:
    num_images = recipe.train.grad_cache
    if 0 < num_images < recipe.train.batch_size // dist.world_size() and network.learns_statistics:
        warn(
            f"train.grad_cache={num_images}: batch norm normalises each part of at most {num_images} images by itself,"
            " so training differs from that of whole batches; model.freeze_bn=true makes them equal."
        )


def _has_same_data(checkpoint: Checkpoint, splits: Splits) -> bool:
    return checkpoint.manifest["train_sha256"] == splits.train.sha256


def _restore_step(step: TrainStep, checkpoint: Checkpoint, same_data: bool) -> None:
    # Other annotations may mean other classes by the same labels, so a memory of these would mislead.
    state = checkpoint.state if same_data else {**checkpoint.state, "memories": {}}
    try:
        step.load_state_dict(state)
    except ValueError as error:
        raise UserError(
            f"{checkpoint.folder} cannot be resumed with these options: its optimizer trained others ({error})."
            " To change what is trained, as with model.freeze or --BACKBONE_FREEZE, use --mode finetune."
        ) from None


def _restore(trainer: Trainer, checkpoint: Checkpoint, same_data: bool) -> None:
    state = checkpoint.state
    trainer.bad_images.load_state_dict(state["bad_images"])
    trainer.progress = Progress.from_state(state["progress"])
    if not same_data:
        trainer.progress.step_in_epoch, trainer.progress.sums = 0, {}
    # Another number of processes than before has no state of its own for each; the first one's is as good.
    restore_random_state(state["random"][dist.rank() % len(state["random"])])


def _saver(
    folder: Path, network: Network, recipe: Recipe, splits: Splits
) -> Callable[[Sequence[str], dict[str, Any]], None]:
    table = splits.train
    facts = {
        "shelfmark": __version__,
        "config": recipe.model_dump(mode="json"),
        "num_classes": table.num_classes,
        "class_names": table.class_names,
        "counts": table.counts,
        "train_sha256": table.sha256,
        "val_is_held_out": splits.val_is_held_out,
        "metric": recipe.eval.metric,
    }

    def save(names: Sequence[str], state: dict[str, Any]) -> None:
        progress = state["progress"]
        now = {name: progress[name] for name in ("step", "epoch", "best_score", "best_epoch")}
        first, *others = names
        save_checkpoint(folder / first, network.state_dict(), state, {**facts, **now})
        for other in others:
            copy_checkpoint(folder / first, folder / other)

    return save


def _finish(folder: Path, splits: Splits) -> dict[str, Any]:
    # Opened from disk, as a user will: what is reported is what was saved.
    opened = open_model(folder / "best_model")
    summary = evaluate_on(opened, splits.val, splits.retrieval, folder)
    if dist.is_main():
        curves(read_journal(folder / "metrics.jsonl"), folder / "curves.png", metric=opened.recipe.eval.metric)
    return summary


def _write_circumstances(folder: Path, loaded: Loaded) -> None:
    if not dist.is_main():
        return
    text, file = to_yaml(loaded), folder / "config.yaml"
    if not file.exists() or file.read_bytes() != text.encode("utf-8", "surrogateescape"):
        write_text(unused_path(file), text)
    write_json(unused_path(folder / "environment.json"), _environment())


def _environment() -> dict[str, Any]:
    return {
        "command": sys.argv,
        "shelfmark": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "processes": dist.world_size(),
        "threads": torch.get_num_threads(),
    }


def _processes() -> str:
    return "one process" if dist.world_size() == 1 else f"{dist.world_size()} processes"
