"""Small runs of any recipe: `--smoke` and `--dry-run`."""

from __future__ import annotations

from typing import Any

import numpy as np

from shelfmark.config.overrides import Override
from shelfmark.data.table import Table
from shelfmark.models.backbones import narrow_options
from shelfmark.recipe import Recipe

SMOKE_EVAL_BATCH = 16
SHOP = "dataset/shop"


def two_batches(table: Table, batch_size: int) -> Table:
    """Rows for two batches, evenly spread over the table, so that classes, queries and gallery images are included."""
    wanted = min(len(table), 2 * batch_size)
    return table.take(np.linspace(0, len(table) - 1, wanted).round().astype(np.int64))


def smoke_overrides(recipe: Recipe) -> list[Override]:
    """The options that turn any recipe into a run of two epochs and four steps on the shop, from seeded weights."""
    validates_by_retrieval = recipe.data.val_json is None and recipe.data.retrieval_json is not None
    return [
        Override(key, value, "--smoke")
        for key, value in {
            "name": f"{recipe.name}_smoke",
            "data.generated": "shop",
            "data.root": SHOP,
            "data.test_root": f"{SHOP}/test",
            "data.extra_roots": [],
            "data.train_json": f"{SHOP}/train.json",
            "data.more_train_json": [f"{SHOP}/val.json"] if recipe.data.more_train_json else [],
            "data.val_json": None if validates_by_retrieval else f"{SHOP}/val.json",
            "data.test_json": f"{SHOP}/test.json",
            "data.retrieval_json": f"{SHOP}/retrieval.json",
            "data.num_classes": 0,
            "data.input_size_px": min(64, recipe.data.input_size_px),
            "data.num_workers": 0,
            "model.weights": "",
            "model.backbone_options": {**recipe.model.backbone_options, **narrow_options(recipe.model.backbone)},
            "train.num_epochs": 2,
            "train.steps_per_epoch": 4,
            "train.batch_size": 8 * recipe.augment.views,
            "train.accumulate_steps": min(2, recipe.train.accumulate_steps),
            "train.log_every_steps": 2,
            "train.checkpoint_every_steps": 0,
            "eval.batch_size": SMOKE_EVAL_BATCH,
            "train.stages": _second_epoch(recipe),
            "train.cache_features.views": 0,
            "losses": _losses_of_two_epochs(recipe),
            "optim.schedule.warmup_epochs": 0 if recipe.train.stages else min(1.0, recipe.optim.schedule.warmup_epochs),
            "optim.schedule.warmup_steps": 0 if recipe.train.stages else min(4, recipe.optim.schedule.warmup_steps),
        }.items()
    ]


def dry_run_overrides(log_root: str) -> list[Override]:
    """The options that make any recipe run two training batches with its own data, in a temporary folder."""
    return [
        Override(key, value, "--dry-run")
        for key, value in {
            "output.log_root": log_root,
            "train.num_epochs": 1,
            "train.steps_per_epoch": 2,
            "train.log_every_steps": 1,
            "train.checkpoint_every_steps": 0,
            "train.stages": [],
            "train.cache_features.views": 0,
            "optim.schedule.warmup_epochs": 0,
            "optim.schedule.warmup_steps": 0,
        }.items()
    ]


def first_stage_overrides(origin: str = "--check") -> list[Override]:
    """The options that leave of any recipe its first stage, on images, at its whole rate."""
    values = {
        "train.stages": [],
        "train.cache_features.views": 0,
        "optim.schedule.warmup_epochs": 0,
        "optim.schedule.warmup_steps": 0,
    }
    return [Override(key, value, origin) for key, value in values.items()]


def _second_epoch(recipe: Recipe) -> list[dict[str, Any]]:
    """The recipe's last stage, moved to the second epoch, so that a small run enters a stage too."""
    if not recipe.train.stages:
        return []
    stage = recipe.train.stages[-1].model_dump(mode="json")
    return [{**stage, "from_epoch": 1, "schedule": {**stage["schedule"], "warmup_epochs": 0, "warmup_steps": 0}}]


def _losses_of_two_epochs(recipe: Recipe) -> list[dict[str, Any]]:
    """The recipe's losses. A loss that begins or ends with the last stage does so with the second epoch."""
    losses: list[dict[str, Any]] = recipe.model_dump(mode="json")["losses"]
    if recipe.train.stages:
        begin = recipe.train.stages[-1].from_epoch
        for loss in losses:
            loss["from_epoch"] = int(loss["from_epoch"] >= begin)
            loss["until_epoch"] = int(0 < loss["until_epoch"] <= begin)
    return losses
