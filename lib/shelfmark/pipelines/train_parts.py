"""What a training begins with: its tables, its beginning, and everything that a step works on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from shelfmark.config.load import Loaded
from shelfmark.core import dist
from shelfmark.core.errors import UserError
from shelfmark.core.log import say, warn
from shelfmark.core.rng import derive_seed
from shelfmark.data.loader import TrainLoader
from shelfmark.data.table import Table
from shelfmark.engine.precision import Precision
from shelfmark.engine.precision_trial import precision_of_training
from shelfmark.engine.state import TrainState
from shelfmark.models.batch_norm import sync_batch_norm
from shelfmark.models.network import Network
from shelfmark.models.weights import load_matching
from shelfmark.optim import StagedRate
from shelfmark.pipelines.prepare import make_data
from shelfmark.recipe import Recipe, assemble
from shelfmark.recipe.frozen_epochs import cached_around
from shelfmark.recipe.input_settings import disagreement, settled
from shelfmark.recipe.untrained import untrained_heads
from shelfmark.runtime.batch_parts import check_parts
from shelfmark.runtime.chosen_score import require_score
from shelfmark.runtime.class_means import begin_with_class_means
from shelfmark.runtime.restored_state import fit_schedule, restore
from shelfmark.runtime.resume_plan import (
    Mode,
    RunStart,
    decide_start,
    find_checkpoint,
    require_run_place,
    resumable,
    unchanged,
)
from shelfmark.runtime.run_classes import resumed_classes, weights_by_class
from shelfmark.runtime.splits import Splits, read_splits
from shelfmark.runtime.train_stages import TrainStages, epoch_of_optimizer, require_same_stages


@dataclass(frozen=True)
class TrainParts:
    state: TrainState
    stages: TrainStages
    loader: TrainLoader
    learning_rate: StagedRate
    saved_hooks: Mapping[str, Any]


@dataclass(frozen=True)
class Begun:
    """A training before its first step. loaded: the recipe, with what a checkpoint decides."""

    loaded: Loaded[Recipe]
    splits: Splits
    start: RunStart
    parts: TrainParts


def begin(
    loaded: Loaded[Recipe],
    resume: Path | None,
    mode: Mode | None,
    device: torch.device,
    small_evaluation: bool = False,
    aside: bool = False,
) -> Begun:
    """Reads the tables, decides how the run starts, and builds what a step works on; nothing is written.

    The arguments are those of `pipelines.train.train`.
    """
    found = find_checkpoint(loaded.config, resume, aside)
    loaded = settled(loaded, found.checkpoint)
    make_data(loaded.config)
    splits = read_splits(loaded.config, small_evaluation)
    start = decide_start(loaded.config, splits.train, found, mode, aside)
    require_run_place(start, loaded.config.output.log_root)
    say(start.reason)
    splits = resumed_classes(splits, start, loaded.config)
    loaded, changes = resumable(loaded, start)
    require_score(loaded.config, splits)
    for change in changes:
        say(f"resume: {change}")
    _warn_of_input(loaded.config, start)
    for told in untrained_heads(loaded.config):
        warn(told)
    with unchanged(start):
        parts = _built(loaded.config, splits, start, device)
    return Begun(loaded, splits, start, parts)


def _warn_of_input(recipe: Recipe, start: RunStart) -> None:
    """Tells of an input that the first weights were not trained with; of a resumed run's, its changes tell."""
    told = "" if start.resumed else disagreement(recipe, start.checkpoint)
    if told:
        warn(told)


def _built(recipe: Recipe, splits: Splits, start: RunStart, device: torch.device) -> TrainParts:
    torch.manual_seed(derive_seed(recipe.seed, "layers", dist.rank()))
    network = _network(recipe, splits.train, start, device)
    loader = assemble.train_loader(recipe, splits.train, device)
    steps_per_epoch = loader.num_batches(0)
    terms = assemble.loss_terms(recipe, splits.train, device, steps_per_epoch)
    precision = _precision(recipe, network, start, device)
    saved = start.resumed.read_state() if start.resumed else {}
    epoch = epoch_of_optimizer(saved)
    stage = assemble.stage_of(recipe, epoch)
    if start.resumed:
        require_same_stages(recipe, start.resumed.manifest, saved["progress"])
    if stage:
        assemble.apply_stage(recipe, network, stage, anew=False)
    if recipe.model.classifier.init == "class_means" and start.checkpoint is None:
        begin_with_class_means(network, recipe, splits.for_means, precision)
    state = TrainState(
        network=network,
        terms=terms,
        optimizer=assemble.optimizer(recipe, network),
        precision=precision,
        grad_cache=recipe.train.grad_cache,
        from_features=cached_around(recipe, epoch) is not None,
        compiles=recipe.train.compile,
        ema=recipe.train.ema,
    )
    check_parts(recipe, network)
    if start.resumed:
        restore(state, saved, start.resumed, recipe, splits)
    fit_schedule(state, steps_per_epoch, start.resumed)
    stages = TrainStages(recipe, splits.train, state, stage)
    learning_rate = assemble.learning_rate(recipe, steps_per_epoch)
    return TrainParts(state, stages, loader, learning_rate, saved.get("hooks", {}))


def _precision(recipe: Recipe, network: Network, start: RunStart, device: torch.device) -> Precision:
    if start.resumed:
        return Precision.resolve(recipe.train.precision, device, start.resumed.manifest.get("precision", ""))
    return precision_of_training(recipe.train.precision, network.backbone, recipe.data.input_size_px, device)


def _network(recipe: Recipe, train: Table, start: RunStart, device: torch.device) -> Network:
    network = assemble.network(recipe, train.num_classes, load_weights=start.checkpoint is None)
    if start.checkpoint is not None:
        fresh = load_matching(network, weights_by_class(network, train, start.checkpoint))
        if fresh and start.kind == "resume":
            raise UserError(
                f"{start.checkpoint.folder} does not fit this model: {', '.join(fresh)}; use --mode finetune."
            )
        if fresh:
            say(f"starting anew, because the number of classes changed: {', '.join(fresh)}")
        if start.kind == "finetune":
            network.fold_class_factors()
    if recipe.model.sync_bn:
        sync_batch_norm(network, device)
    return network.to(device)
