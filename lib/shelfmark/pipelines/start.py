"""How a training run begins: fresh, as the continuation of another, or as its finetuning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shelfmark.core import dist
from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json, unused_path
from shelfmark.data.table import Table
from shelfmark.engine.checkpoint import MANIFEST, Checkpoint
from shelfmark.recipe import Recipe

Mode = Literal["resume", "finetune"]


@dataclass(frozen=True)
class Start:
    """kind: what the run is. reason: the log's first line. folder: where the run writes, None for a new one, `name`."""

    kind: Literal["fresh", "resume", "finetune"]
    reason: str
    name: str
    folder: Path | None = None
    checkpoint: Checkpoint | None = None

    @property
    def resumed(self) -> Checkpoint | None:
        """The checkpoint whose optimizer, schedule and position go on, if any."""
        return self.checkpoint if self.kind == "resume" else None


def decide_start(recipe: Recipe, train: Table, checkpoint: Checkpoint | None, mode: Mode | None) -> Start:
    """Resume or finetune is decided by the content of the training annotations, never by paths.

    mode: what the user asked for; None decides.
    """
    if checkpoint is None:
        return Start("fresh", "a fresh run", recipe.name)
    same = checkpoint.manifest["train_sha256"] == train.sha256
    kind = mode or ("resume" if same else "finetune")
    why = f"--mode {mode}" if mode else f"the training annotations are {'the same' if same else 'others'}"
    if kind == "finetune":
        reason = f"finetuning {checkpoint.folder}: its weights, a fresh optimizer and schedule ({why})"
        return Start("finetune", reason, f"{recipe.name}_finetune", checkpoint=checkpoint)
    if not checkpoint.state:
        raise UserError(
            f"{checkpoint.folder} is a recalibrated model and holds no optimizer to resume; use --mode finetune,"
            " or resume the checkpoint that it was made from."
        )
    if not same:
        why += "; the training annotations are others, so the epoch in progress starts anew"
    # `last` is the head of its run: going on writes after it. Any other checkpoint is a point in the past,
    # and going on from there in the same folder would overwrite what came later.
    folder = checkpoint.folder.parent if checkpoint.folder.name == "last" else None
    done = checkpoint.manifest["step"]
    reason = f"resuming {checkpoint.folder} at step {done}, epoch {checkpoint.manifest['epoch'] + 1} ({why})"
    if checkpoint.manifest["epoch"] >= recipe.train.num_epochs:
        reason = f"{checkpoint.folder} has all its {recipe.train.num_epochs} epochs; train.num_epochs=N would add some"
    return Start("resume", reason, recipe.name, folder, checkpoint)


def open_run_folder(start: Start, log_root: Path) -> Path:
    """The folder that the run writes to: the resumed one, or a new one with a number where its name exists.

    Called once everything that can be wrong with the input has been built, so that an error leaves no folder.
    """
    if start.folder is not None:
        return start.folder
    folder = unused_path(log_root / start.name)
    if dist.is_main():
        folder.mkdir(parents=True)
    return dist.broadcast_object(folder)


def best_so_far(checkpoint: Checkpoint) -> Path | None:
    """The folder of the best model that the checkpoint's run had until then: itself or its sibling, if they still are.

    A run that goes on from here in another folder takes it along, or else its best score would have no model.
    """
    best_epoch = checkpoint.manifest["best_epoch"]
    for folder in (checkpoint.folder, checkpoint.folder.parent / "best_model"):
        file = folder / MANIFEST
        # A checkpoint of the best epoch is written once that epoch is closed.
        if best_epoch is not None and file.is_file() and read_json(file)["epoch"] == best_epoch + 1:
            return folder
    return None
