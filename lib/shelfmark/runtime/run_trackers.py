"""The trackers that a recipe asks for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from shelfmark.engine.trackers.mlflow_files import MlflowFiles
from shelfmark.engine.trackers.tracker import TrackedRun, Tracker
from shelfmark.engine.trackers.wandb_offline import WandbOffline
from shelfmark.recipe import Recipe

_TRACKERS: dict[str, Callable[[TrackedRun], Tracker]] = {"wandb": WandbOffline, "mlflow": MlflowFiles}


def trackers_of(recipe: Recipe, folder: Path) -> dict[str, Callable[[], Tracker]]:
    """What opens each tracker of a run in this folder, by its name."""
    run = TrackedRun(folder, recipe.model_dump(mode="json"))
    return {name: partial(_TRACKERS[name], run) for name in dict.fromkeys(recipe.output.trackers)}
