"""What a resumed run takes over from its checkpoint, besides the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.engine.checkpoint import Checkpoint
from shelfmark.engine.checkpoint_versions import BY_PLACE
from shelfmark.engine.optimizer_state import by_name, group_names
from shelfmark.engine.state import TrainState
from shelfmark.optim import OptimOptions
from shelfmark.recipe import Recipe, assemble
from shelfmark.runtime.splits import Splits


def restore(state: TrainState, saved: dict[str, Any], checkpoint: Checkpoint, recipe: Recipe, splits: Splits) -> None:
    """Gives `state` what a checkpoint saved. saved: its `read_state()`. UserError: the options train other weights."""
    same_data = checkpoint.manifest["train_sha256"] == splits.train.sha256
    try:
        if BY_PLACE in saved["optimizer"]:
            # Version 0.1.0 saved no parameter names: they follow from the groups that its options make.
            old = recipe.model_copy(update={"optim": _old_optim(recipe, checkpoint)})
            optimizer = assemble.optimizer(old, state.network)
            names, kind = group_names(optimizer, state.network), type(optimizer).__name__
            saved = {**saved, "optimizer": by_name(saved["optimizer"][BY_PLACE], names, kind)}
        state.load_state_dict(saved, same_data)
    except ValueError as error:
        raise UserError(
            f"{checkpoint.folder} cannot be resumed with these options: its optimizer trained others ({error})."
            " To change what is trained, as with model.freeze or --BACKBONE_FREEZE, use --mode finetune."
        ) from None


def fit_schedule(state: TrainState, steps_per_epoch: int, resumed: Checkpoint | None) -> None:
    """Adapts the progress of a resumed run if epochs have another number of steps now."""
    progress = state.progress
    if resumed is not None and not progress.steps_per_epoch:
        progress.steps_per_epoch = _old_steps_per_epoch(resumed.manifest)
    before = progress.steps_per_epoch
    if progress.fit_to(steps_per_epoch):
        say(
            f"resume: an epoch has {steps_per_epoch} steps now and had {before}; schedule, losses and memories continue"
            f" by epoch: at step {progress.step_in_epoch} of epoch {progress.epoch + 1}"
        )


def _old_steps_per_epoch(manifest: Mapping[str, Any]) -> int:
    """The steps an epoch of a run of version 0.1.0, which did not save them, counted as in `build_order`."""
    train, views = manifest["config"]["train"], manifest["config"]["augment"]["views"]
    return train["steps_per_epoch"] or sum(manifest["counts"]) // (train["batch_size"] // views)


def _old_optim(recipe: Recipe, checkpoint: Checkpoint) -> OptimOptions:
    return type(recipe.optim).model_validate_json(json.dumps(checkpoint.manifest["config"]["optim"]), strict=True)
