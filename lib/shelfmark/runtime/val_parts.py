"""The val images that choose, an epoch or a recalibration, and those that are kept for `shelfmark thresholds`."""

from __future__ import annotations

from shelfmark.data.holdout import hold_out
from shelfmark.data.table import Table
from shelfmark.recipe import Recipe
from shelfmark.runtime.trained_model import TrainedModel


def choosing(recipe: Recipe, val: Table) -> Table:
    """The images that choose best_model, by eval.choose_share."""
    return _parts(val, recipe.eval.choose_share, recipe.seed)[0]


def choose_share(model: TrainedModel) -> float:
    """eval.choose_share of the model's own training, whatever the command line says now."""
    return float(model.checkpoint.manifest["config"].get("eval", {}).get("choose_share", 1.0))


def choosing_of(model: TrainedModel, val: Table) -> tuple[Table, str]:
    """The images that may choose a recalibration, and the name of their stored features."""
    is_whole = choose_share(model) == 1
    return (val, "val") if is_whole else (_parts_of(model, val)[0], "val_choosing")


def kept_of(model: TrainedModel, val: Table) -> Table:
    """The images that chose nothing; none where all of them chose."""
    return _parts_of(model, val)[1]


def _parts_of(model: TrainedModel, val: Table) -> tuple[Table, Table]:
    return _parts(val, choose_share(model), int(model.checkpoint.manifest["config"]["seed"]))


def _parts(val: Table, share: float, seed: int) -> tuple[Table, Table]:
    return (val, val.take(slice(0, 0))) if share == 1 else hold_out(val, fraction=1 - share, seed=seed)
