"""A small run of any recipe of discovery: `shelfmark discover --smoke`."""

from __future__ import annotations

from typing import Any

from shelfmark.config.overrides import Override
from shelfmark.recipe import Recipe
from shelfmark.runtime.small_runs import SHOP, smoke_overrides
from shelfmark.shop.discovery_shop import NAME as DISCOVERY_SHOP

_MOST_ROUNDS = 2
_IMAGES = 48


def discovery_smoke_overrides(recipe: Recipe) -> list[Override]:
    """Options with which any recipe runs two rounds of a few steps on a few pictures of the shop."""
    small: dict[str, Any] = {
        "data.train_json": None,
        "data.val_json": None,
        "data.retrieval_json": None,
        "data.test_json": None,
        "data.more_train_json": [],
        "discovery.annotations": f"{SHOP}/{DISCOVERY_SHOP}",
        "discovery.rounds": min(_MOST_ROUNDS, recipe.discovery.rounds),
        "discovery.max_images": _IMAGES,
        "discovery.clusterer.lander.hidden": 16,
        "discovery.clusterer.lander.epochs": 2,
        "discovery.clusterer.lander.batch_size": 64,
        "discovery.clusterer.lander.tau": 0.0,
        "train.num_epochs": 1,
        "train.stages": [],
        "train.steps_per_epoch": 3,
        "train.log_every_steps": 1,
        "optim.schedule.warmup_epochs": 0,
        "optim.schedule.warmup_steps": 0,
    }
    if recipe.discovery.selection.density_threshold is not None:
        # After a few steps no image is dense, but some must be selected.
        small["discovery.selection.density_threshold"] = -1.0
    return [*smoke_overrides(recipe), *(Override(key, value, "--smoke") for key, value in small.items())]
