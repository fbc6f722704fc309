"""Retrieval scores of stored features: chooses queries and gallery, computes the scores and writes their files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shelfmark.core.contracts import Embeddings
from shelfmark.core.errors import UserError
from shelfmark.data.identity import image_numbers, record_numbers
from shelfmark.data.table import Table
from shelfmark.evaluation import retrieval
from shelfmark.evaluation.clustering import cluster_scores
from shelfmark.evaluation.drawn_galleries import drawn_gallery_scores
from shelfmark.evaluation.legacy_metrics import legacy_scores
from shelfmark.evaluation.verification import verification_scores
from shelfmark.recipe import Recipe
from shelfmark.reports.tables import write_table
from shelfmark.retrieval.query_gallery import QueryGallery
from shelfmark.runtime.copies import tell_copies
from shelfmark.runtime.trained_model import TrainedModel


@dataclass(frozen=True)
class ExtraScores:
    """Scores on request. legacy: one of `legacy_metrics.DEFINITIONS`. gallery_draws: how many galleries of one random
    image a class are drawn; 0 is off."""

    clusters: bool = False
    verification: bool = False
    legacy: str | None = None
    gallery_draws: int = 0


NOTHING_MORE = ExtraScores()


def retrieval_scores(
    recipe: Recipe, features: Embeddings, table: Table | None, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Recall@K and mAP: of queries in the gallery if the table marks them, else of every row in all others."""
    return _searched(recipe, features, table, device).means()


def write_retrieval_scores(
    model: TrainedModel,
    features: Embeddings,
    val: Table | None,
    table: Table | None,
    folder: Path,
    asked: ExtraScores = NOTHING_MORE,
) -> tuple[dict[str, Any], retrieval.SearchScores]:
    """As `retrieval_scores`, with 95% intervals and the extra scores; and the scores of each query.

    Writes retrieval_per_class.csv and, if the classes have groups, retrieval_groups.csv into `folder`.
    table: the retrieval table; None searches val in itself. `table` and `val` are not both None.
    """
    recipe, metric = model.recipe, model.recipe.eval.retrieval_metric
    found = _searched(recipe, features, table, model.precision.device)
    intervals = found.intervals(recipe.seed)
    summary: dict[str, Any] = {}
    for name, score in found.means().items():
        summary[name] = score
        if name in intervals:
            summary[f"{name}_low"], summary[f"{name}_high"] = intervals[name] or (None, None)
    if features.boxes is not None:
        summary |= _in_other_pictures(model, features, table)
    if table is None:
        # The classes of a retrieval table need not be those of the training.
        summary |= found.shot_groups(model.counts, recipe.eval.many, recipe.eval.few)
    searched = val if table is None else table
    assert searched is not None
    write_class_tables(found, searched, folder)
    tell_copies(features, searched)
    if asked.clusters:
        summary |= cluster_scores(features.features, features.labels, metric, recipe.seed)
    if asked.verification:
        summary |= verification_scores(query_gallery(recipe, features, table), metric, seed=recipe.seed)
    if asked.gallery_draws:
        ks, draws = recipe.eval.recall_at, asked.gallery_draws
        ids = record_numbers(features.paths, searched.root, features.boxes)
        summary |= drawn_gallery_scores(features.features, features.labels, ks, draws, metric, recipe.seed, ids)
    if asked.legacy is not None:
        summary |= _legacy_scores(recipe, features, table, asked.legacy)
    return summary, found


def class_recalls(model: TrainedModel, features: Embeddings, found: retrieval.SearchScores | None) -> dict[int, float]:
    """Recall@1 by class, of the images of val searched in val; of the classes that have a scored query.

    features: of val. found: the scores of this search, if it was done already.
    """
    if found is None:
        found = _searched(model.recipe, features, None, model.precision.device)
    classes, _, recall = found.per_class()
    return dict(zip(classes.tolist(), recall.tolist()))


def write_class_tables(found: retrieval.SearchScores, table: Table, folder: Path) -> None:
    """Recall@1, average precision and mAP@R of each class with a scored query, and of each group of classes."""
    classes, num_queries, recall = found.per_class()
    precision, at_r = (found.per_class(found.values[name])[2] for name in ("map", "map@r"))
    names, groups = table.class_names, table.groups
    rows = [
        {
            "category_id": int(label),
            "class_name": names[label] if names else "",
            "group": groups[label] if groups else "",
            "num_queries": int(count),
            "recall@1": float(hit),
            "map": float(ap),
            "map@r": float(ap_at_r),
        }
        for label, count, hit, ap, ap_at_r in zip(classes, num_queries, recall, precision, at_r)
    ]
    columns = ("category_id", "class_name", "group", "num_queries", "recall@1", "map", "map@r")
    write_table(folder / "retrieval_per_class.csv", rows, columns)
    if groups:
        write_table(folder / "retrieval_groups.csv", _group_rows(rows))


def _in_other_pictures(model: TrainedModel, features: Embeddings, table: Table | None) -> dict[str, Any]:
    """Recall@1 without the gallery's boxes of the query's own picture, where the same product often stands again."""
    recipe = model.recipe
    pictures = image_numbers(features.paths, recipe.data.root)
    sides = query_gallery(recipe, features, table, ids=pictures).on(model.precision.device)
    found = retrieval.search_scores(sides, (1,), recipe.eval.retrieval_metric).means()
    return {"recall@1_other_pictures": found["recall@1"]}


def _legacy_scores(recipe: Recipe, features: Embeddings, table: Table | None, definitions: str) -> dict[str, float]:
    """Scores by names that begin with that of the definitions: pnp_recall@1."""
    sides = query_gallery(recipe, features, table)
    if np.array_equal(np.sort(sides.query_ids), np.sort(sides.gallery_ids)):
        # The gallery may be records of its own, in another order.
        labels, ids = sides.query_labels, sides.query_ids
        sides = replace(sides, gallery=sides.query, gallery_labels=labels, gallery_ids=ids, is_same_set=True)
    elif len(shared := np.intersect1d(sides.query_ids, sides.gallery_ids)):
        raise UserError(
            f"{len(shared)} of the {len(sides.query_ids)} queries stand in the gallery too, which has other images"
            f" besides. --legacy-metrics {definitions} knows only a set searched in itself, or a gallery without the"
            " queries."
        )
    found = legacy_scores(sides, recipe.eval.recall_at, definitions, recipe.eval.retrieval_metric)
    return {f"{definitions}_{name}": value for name, value in found.items()}


def _group_rows(classes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a group: the means over its queries and over its classes."""
    rows = []
    for group in sorted({row["group"] for row in classes}):
        members = [row for row in classes if row["group"] == group]
        count = np.array([row["num_queries"] for row in members])
        recall = np.array([row["recall@1"] for row in members])
        rows.append(
            {
                "group": group,
                "num_classes": len(members),
                "num_queries": int(count.sum()),
                "recall@1": float((count * recall).sum() / count.sum()),
                "mean_class_recall@1": float(recall.mean()),
                "map": float((count * np.array([row["map"] for row in members])).sum() / count.sum()),
            }
        )
    return rows


def _searched(
    recipe: Recipe, features: Embeddings, table: Table | None, device: torch.device | str
) -> retrieval.SearchScores:
    sides = query_gallery(recipe, features, table).on(device)
    return retrieval.search_scores(sides, recipe.eval.recall_at, recipe.eval.retrieval_metric)


def query_gallery(
    recipe: Recipe, features: Embeddings, table: Table | None, ids: np.ndarray | None = None
) -> QueryGallery:
    """The queries and the gallery of a table; if it marks neither, each row is searched in all others.

    The id of a row is that of its picture and box: one that is listed as query and again in the gallery does not find
    itself, and finds the other boxes of its picture. ids: (N,) others; rows of one id do not find each other.
    """
    ids = record_numbers(features.paths, recipe.data.root, features.boxes) if ids is None else ids
    if table is None or (table.is_query is None and table.is_gallery is None):
        return QueryGallery.of(features.features, features.labels, query_ids=ids)
    if table.is_query is None or table.is_gallery is None:
        has, lacks = ("is_gallery", "is_query") if table.is_query is None else ("is_query", "is_gallery")
        raise UserError(
            f"{recipe.data.retrieval_json} has {has} and no {lacks}: records need both, or neither, and then each is"
            " searched among all the others."
        )
    is_query, is_gallery = table.is_query[features.rows], table.is_gallery[features.rows]
    return QueryGallery.of(
        features.features[is_query],
        features.labels[is_query],
        features.features[is_gallery],
        features.labels[is_gallery],
        ids[is_query],
        ids[is_gallery],
    )
