"""The best model of a resumed run: its score must still count, and its checkpoint must exist and be whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shelfmark.core.errors import UserError
from shelfmark.core.log import say, warn
from shelfmark.core.together import from_main
from shelfmark.data.options import InputSettings
from shelfmark.data.source_words import FILES
from shelfmark.engine.checkpoint import Checkpoint, copy_checkpoint, load_checkpoint
from shelfmark.engine.checkpoint_folder import MANIFEST
from shelfmark.engine.checkpointer import BEST
from shelfmark.engine.progress import Progress
from shelfmark.recipe import Recipe
from shelfmark.runtime.resume_plan import RunStart
from shelfmark.runtime.splits import Splits

_INPUT = ("input_size_px", "eval_resize_px", *InputSettings._fields)


def settle_best(start: RunStart, progress: Progress, folder: Path, recipe: Recipe, splits: Splits) -> None:
    """Forgets the best score unless it is of the present metric on the present images, and its model can be found."""
    resumed = start.resumed
    if resumed is None or progress.best_epoch is None:
        return
    facts = resumed.manifest
    if facts["metric"] != recipe.eval.metric:
        say(
            f"resume: the best score so far is of {facts['metric']}, so the next {recipe.eval.metric} counts as"
            " the best"
        )
        progress.best_score = progress.best_epoch = None
    elif any(facts.get(name, now) != now for name, now in scored_images(splits).items()) or _are_read_anew(
        recipe, facts
    ):
        say("resume: the validation images, or the way they are read, changed, so the next score counts as the best")
        progress.best_score = progress.best_epoch = None
    elif not from_main(lambda: _has_best(start, progress, folder, recipe)):
        progress.best_score = progress.best_epoch = None


def scored_images(splits: Splits) -> dict[str, str | None]:
    """The images that the chosen score is measured on."""
    tables = {"val_sha256": splits.val, "retrieval_sha256": splits.retrieval}
    return {name: None if table is None else table.sha256 for name, table in tables.items()}


def _are_read_anew(recipe: Recipe, facts: Mapping[str, Any]) -> bool:
    now, before = recipe.model_dump(mode="json")["data"], facts["config"]["data"]
    # The same copy may lie in another folder now.
    kind, former = (one.get("source", FILES).partition(":")[0] for one in (now, before))
    return kind != former or any(before.get(name, now[name]) != now[name] for name in _INPUT)


def _has_best(start: RunStart, progress: Progress, folder: Path, recipe: Recipe) -> bool:
    """Whether the run's folder has a whole best model; it is copied there if it can be found elsewhere."""
    resumed = start.resumed
    assert resumed is not None
    if start.folder is None:
        best = _best_so_far(resumed)
        if best is not None:
            copy_checkpoint(best, folder / BEST)
        return best is not None
    try:
        best_model = load_checkpoint(folder / BEST)
        best_model.require_whole()
        said = (best_model.manifest["best_epoch"], best_model.manifest["best_score"])
        if said != (progress.best_epoch, progress.best_score):
            # After a kill between the saves, or with a damaged `last`, the run trains that epoch again.
            raise UserError(
                f"{best_model.folder} is from step {best_model.manifest['step']}, and is not the best model up to step"
                f" {progress.step}, at which the run resumes."
            )
        return True
    except UserError as error:
        if progress.epoch == (progress.best_epoch or 0) + 1 and not progress.step_in_epoch:
            warn(f"{error} {resumed.folder} is from the best epoch too, and replaces it.")
            copy_checkpoint(resumed.folder, folder / BEST)
            return True
        if progress.epoch >= recipe.train.num_epochs:
            raise UserError(
                f"{error} The run is complete, so no epoch would replace it. Copy {resumed.folder} there to report the"
                " last epoch instead, or continue the training with train.num_epochs=N."
            ) from None
        warn(f"{error} It is not used: the best of the epochs from now on replaces it.")
        return False


def _best_so_far(checkpoint: Checkpoint) -> Path | None:
    """The best model of the checkpoint's run at that time: the checkpoint itself or the one beside it, if it exists.

    A run that goes on in another folder copies it, or else its best score would have no model.
    """
    best_epoch = checkpoint.manifest["best_epoch"]
    for folder in (checkpoint.folder, checkpoint.folder.parent / BEST):
        # A checkpoint of the best epoch is written once that epoch is closed.
        if best_epoch is not None and (folder / MANIFEST).is_file():
            manifest = load_checkpoint(folder).manifest
            if manifest["epoch"] == best_epoch + 1:
                return folder
    return None
