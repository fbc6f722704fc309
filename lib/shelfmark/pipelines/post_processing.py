"""The effect of each step of post-processing on the retrieval scores: one table, step after step."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from shelfmark.core.contracts import Embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.together import from_main, together
from shelfmark.data.table import Table
from shelfmark.evaluation.post_processing import (
    FEATURE_STEPS,
    LAST_STEP,
    VECTOR_STEPS,
    check_steps,
    of_length_1,
    plain_scores,
    reranked_scores,
    whiten_query_gallery,
)
from shelfmark.pipelines.evaluate import evaluated_before
from shelfmark.recipe import Recipe
from shelfmark.reports.tables import write_table
from shelfmark.retrieval.query_gallery import QueryGallery
from shelfmark.runtime.features import features_of
from shelfmark.runtime.retrieval_scores import query_gallery
from shelfmark.runtime.splits import read_evaluation
from shelfmark.runtime.stored_features import STORED
from shelfmark.runtime.trained_model import TrainedModel

FILE = "post_processing.csv"
NOTHING = "plain"


@dataclass(frozen=True)
class Plan:
    """The steps, in order. whiten_dim: directions that whitening keeps, 0 for all with variance."""

    steps: tuple[str, ...]
    whiten_dim: int = 0

    @classmethod
    def of(cls, words: Sequence[str], whiten_dim: int, recipe: Recipe) -> Plan:
        """The plan of the command's words, each one step or several with commas between. UserError: it cannot be."""
        settings = [word for word in words if "=" in word]
        if settings:
            raise UserError(f"--post takes the words behind it: write {' '.join(settings)} before it.")
        steps = check_steps([step for word in words for step in word.split(",") if step])
        metric = recipe.eval.retrieval_metric
        if steps and metric != "cosine":
            raise UserError(f"--post compares by cosine; set eval.retrieval_metric=cosine instead of {metric}.")
        if "scales" in steps and not recipe.predict.sizes_px:
            raise UserError("--post scales: name the sizes, as predict.sizes_px=[192,224,256].")
        if whiten_dim and "whiten" not in steps:
            raise UserError(f"--whiten-dim {whiten_dim} has no use without the step whiten.")
        return cls(tuple(steps), whiten_dim)


def post_process(model: TrainedModel, folder: Path, plan: Plan, former: Path | None = None) -> list[dict[str, Any]]:
    """A row for the plain search, and one for each step on top of the earlier ones: step, recall@1, map, seconds.

    seconds: of the step and its search, including a feature pass if `folder` does not have the features it needs.
    Searches the retrieval pictures of the recipe, else val in itself. Writes post_processing.csv into `folder`.
    former: as `evaluate`.
    """
    with together():
        val, table = read_evaluation(model)
    pictures = val if table is None else table
    assert pictures is not None
    features = _Features(model, pictures, folder / STORED, evaluated_before(former))
    scored = _Scored(model, table, features, plan.whiten_dim)
    rows = []
    for number, step in enumerate((NOTHING, *plan.steps)):
        start = time.perf_counter()
        passes = features.of(plan.steps[:number]) if step == NOTHING or step in FEATURE_STEPS else []
        scores = from_main(partial(scored.after, step, passes), "report")
        rows.append({"step": step, **scores, "seconds": time.perf_counter() - start})
    from_main(lambda: write_table(folder / FILE, rows))
    return rows


class _Scored:
    """The search after each step, in rank 0. table: None if val is searched in itself."""

    def __init__(self, model: TrainedModel, table: Table | None, features: _Features, whiten_dim: int) -> None:
        self.model, self.table, self.features = model, table, features
        self.steps = VECTOR_STEPS | {"whiten": partial(whiten_query_gallery, dim=whiten_dim)}
        self.sides: QueryGallery | None = None

    def after(self, step: str, passes: Sequence[Embeddings]) -> dict[str, Any]:
        """The scores after one more step. passes: new features for this step; empty to go on with the present ones."""
        if passes:
            sides = query_gallery(self.model.recipe, self.features.mean(passes), self.table)
            self.sides = of_length_1(sides.on(self.model.precision.device))
        assert self.sides is not None
        if step in self.steps:
            self.sides = self.steps[step](self.sides)
        return (reranked_scores if step == LAST_STEP else plain_scores)(self.sides)


@dataclass(frozen=True)
class _Features:
    """Features of one table with more and more views, each pass in a folder of its own. stored_in: as `features_of`."""

    model: TrainedModel
    table: Table
    folder: Path
    stored_in: Sequence[Path]

    def of(self, steps: Sequence[str]) -> list[Embeddings]:
        """The features of each size, with the views that the steps need; every process takes part."""
        recipe = self.model.recipe
        views = "flip" if "flip" in steps else "centre"
        sizes = recipe.predict.sizes_px if "scales" in steps else (recipe.data.input_size_px,)
        return [self._pass(views, size) for size in sizes]

    def mean(self, passes: Sequence[Embeddings]) -> Embeddings:
        """The mean over sizes, each embedding of length 1."""
        if len(passes) == 1:
            return passes[0]
        if any(not np.array_equal(one.rows, passes[0].rows) for one in passes):
            raise UserError(f"--post scales: {self.folder} holds other images at each size: some were read only once.")
        mean = np.zeros(passes[0].features.shape, dtype=np.float32)
        for one in passes:
            mean += F.normalize(torch.from_numpy(one.features), dim=1).numpy() / len(passes)
        return replace(passes[0], features=mean)

    def _pass(self, views: str, size_px: int) -> Embeddings:
        recipe = self.model.recipe
        name = "val" if recipe.data.retrieval_json is None else "retrieval"
        if (views, size_px) != ("centre", recipe.data.input_size_px):
            name = f"{name}_{views}_{size_px}px"
        sized = recipe.model_copy(update={"data": recipe.data.model_copy(update={"input_size_px": size_px})})
        return features_of(
            self.model.network,
            sized,
            self.table,
            self.folder / name,
            made_by=self.model.hashes,
            precision=self.model.precision,
            views=views,
            stored_in=self.stored_in,
        )
