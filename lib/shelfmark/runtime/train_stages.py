"""The stages of a training run: what each epoch trains on and steps with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shelfmark.core.contracts import Batch
from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.data.loader import EpochLoader
from shelfmark.data.table import Table
from shelfmark.engine.state import TrainState
from shelfmark.engine.step import TrainStep
from shelfmark.recipe import Recipe, assemble
from shelfmark.recipe.frozen_epochs import cached_around
from shelfmark.runtime.frozen_features import FrozenFeatures


class TrainStages:
    """The TrainStep of each epoch: every stage of `train.stages` has an optimizer of its own.

    stage: the one that `state` is in.
    """

    def __init__(self, recipe: Recipe, train: Table, state: TrainState, stage: int) -> None:
        self.recipe, self.state = recipe, state
        stages = range(1 + len(recipe.train.stages))
        self.mixing = [assemble.mixing(recipe, train, stage) for stage in stages]
        self.stage = stage

    def step_for(self, epoch: int) -> TrainStep:
        """The step of an epoch. A stage that begins with the epoch is applied to the network and gets an optimizer."""
        stage = assemble.stage_of(self.recipe, epoch)
        if stage != self.stage:
            say(f"epoch {epoch + 1}: stage {stage + 1} of train.stages begins")
            self.stage = stage
            network = self.state.network
            self.state.end_stage()
            assemble.apply_stage(self.recipe, network, stage, anew=True)
            from_features = cached_around(self.recipe, epoch) is not None
            self.state.begin_stage(assemble.optimizer(self.recipe, network), from_features)
        num_parts = self.recipe.train.accumulate_steps
        return TrainStep(self.state, self.recipe.optim.clip_norm, self.mixing[stage], num_parts)


class StagedLoader:
    """The batches of each epoch: of images, or of features, where these are stored for the epoch."""

    def __init__(self, images: EpochLoader, frozen: FrozenFeatures) -> None:
        self.images, self.frozen = images, frozen

    def num_batches(self, epoch: int) -> int:
        return self.images.num_batches(epoch)

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        return (self.frozen.loader_of(epoch) or self.images).epoch(epoch, start_step)


def epoch_of_optimizer(saved: Mapping[str, Any]) -> int:
    """The epoch whose optimizer a checkpoint's state holds; 0 without a checkpoint."""
    return max(0, _last_epoch(saved["progress"])) if saved else 0


def require_same_stages(recipe: Recipe, manifest: Mapping[str, Any], progress: Mapping[str, Any]) -> None:
    """Raises a UserError if a stage that has begun was changed: on resume only later stages may change."""
    last_epoch = _last_epoch(progress)
    now = recipe.model_dump(mode="json")["train"]["stages"]
    before, after = (
        [stage for stage in stages if stage["from_epoch"] <= last_epoch]
        for stages in (manifest["config"]["train"]["stages"], now)
    )
    if [{**new, **old} for new, old in zip(after, before)] != after or len(before) != len(after):
        raise UserError(
            f"train.stages changes a stage that begins at or before epoch {last_epoch} (from 0), which the checkpoint"
            " has trained: stages that have begun stay as they are. Change later ones, or use --mode finetune."
        )


def _last_epoch(progress: Mapping[str, Any]) -> int:
    """The epoch of the last step, from 0; -1 before the first one."""
    epoch: int = progress["epoch"]
    return epoch - 1 if progress["step_in_epoch"] == 0 else epoch
