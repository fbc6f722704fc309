"""Checks, before the first step, that there will be a score to choose `best_model` by."""

from __future__ import annotations

import numpy as np
import torch

from shelfmark.core.errors import UserError, did_you_mean
from shelfmark.data.table import Table
from shelfmark.engine.hooks import NO_METRIC
from shelfmark.ops.class_metrics import ClassCounts
from shelfmark.recipe import Recipe
from shelfmark.runtime.splits import Splits

OF_A_SEARCH = ("map", "map@r", "r_precision", "mrr", "minp", "mean_class_recall@1")
AT_K = ("recall", "precision", "map")
COUNTS = ("num_images", "num_classes")


def require_score(recipe: Recipe, splits: Splits) -> None:
    """Raises a UserError, which lists the possible scores, if `eval.metric` is none of them."""
    metric = recipe.eval.metric
    if metric == NO_METRIC:
        return
    known = {} if splits.val is None else _scores_of_classes(recipe, splits.val, splits)
    searched = [*(f"{name}@{k}" for name in AT_K for k in recipe.eval.recall_at), *OF_A_SEARCH]
    has_positive = splits.retrieval is not None or splits.val is None or _has_positive(splits.val)
    there_are = [*(name for name, has_value in known.items() if has_value), *(searched if has_positive else ())]
    if metric in there_are:
        return
    if metric in searched:
        raise UserError(
            f"eval.metric={metric!r} has no value on this validation set: no class has two images there, so no image"
            f" has another one of its class to be found. There are: {', '.join(there_are)}."
        )
    if metric in known:
        raise UserError(
            f"eval.metric={metric!r} has no value on this validation set: none of its images is of such a class (see"
            f" eval.many and eval.few). There are: {', '.join(there_are)}."
        )
    near = did_you_mean(metric, there_are)
    meant = f" Did you mean {near!r}?" if near else ""
    at_k = " K of recall@K is one of eval.recall_at." if "@" in metric else ""
    raise UserError(
        f"eval.metric={metric!r} is no score; there are: {', '.join(there_are)}, and {NO_METRIC!r}, which scores"
        f" nothing.{at_k}{meant}"
    )


def _has_positive(val: Table) -> bool:
    """Whether an image, searched in all others, can find one of its class."""
    return bool((np.bincount(val.labels[val.labels >= 0], minlength=1) > 1).any())


def _scores_of_classes(recipe: Recipe, val: Table, splits: Splits) -> dict[str, bool]:
    """Each classification score, and whether these images give it a value."""
    counted = ClassCounts(splits.train.num_classes)
    labels = torch.from_numpy(val.labels)
    counted.counters[0] = torch.bincount(labels[labels >= 0], minlength=counted.num_classes)
    scores = counted.scores(splits.train.counts, recipe.eval.many, recipe.eval.few)
    return {name: value is not None for name, value in scores.items() if name not in COUNTS}
