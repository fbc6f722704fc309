"""Scores of one model on val and on the query and gallery pictures, from features on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from shelfmark.core import dist
from shelfmark.core.contracts import Embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.files import write_json
from shelfmark.data.table import Table
from shelfmark.evaluation import classification, retrieval
from shelfmark.pipelines.features import features_of
from shelfmark.pipelines.opened import OpenedModel
from shelfmark.pipelines.splits import read_evaluation
from shelfmark.recipe import Recipe


def evaluate(opened: OpenedModel, folder: Path) -> dict[str, Any]:
    """Scores a checkpoint on its recipe's val and retrieval pictures; writes into `folder`."""
    val, gallery = read_evaluation(opened)
    return evaluate_on(opened, val, gallery, folder)


def evaluate_on(opened: OpenedModel, val: Table, retrieval_table: Table | None, folder: Path) -> dict[str, Any]:
    """The names of summary.json. Writes summary.json, per_class.csv and embeddings/ into `folder`."""
    val_features = _features(opened, val, folder / "embeddings" / "val")
    found = val_features
    if retrieval_table is not None:
        found = _features(opened, retrieval_table, folder / "embeddings" / "retrieval")
    summary: dict[str, Any] = {}
    if dist.is_main():
        with torch.inference_mode():
            counted = classification.count_from_features(
                val_features.features,
                val_features.labels,
                opened.network.logits,
                opened.num_classes,
                opened.precision.device,
            )
        recipe = opened.recipe
        summary = counted.scores(opened.counts, many=recipe.eval.many, few=recipe.eval.few)
        summary |= retrieval_scores(recipe, found, retrieval_table)
        write_json(folder / "summary.json", summary)
        classification.write_per_class(folder / "per_class.csv", counted, opened.counts, opened.class_names)
    return dist.broadcast_object(summary)


def retrieval_scores(recipe: Recipe, features: Embeddings, table: Table | None) -> dict[str, Any]:
    """Recall@K and mAP: queries against gallery where the table has them, else every row against all others."""
    ks, metric = recipe.eval.recall_at, recipe.eval.retrieval_metric
    if table is None:
        return retrieval.scores(features.features, features.labels, ks, metric=metric)
    if table.is_query is None or table.is_gallery is None:
        raise UserError(
            f"{recipe.data.retrieval_json} marks no queries or no gallery: records need is_query, is_gallery."
        )
    is_query, is_gallery = table.is_query[features.rows], table.is_gallery[features.rows]
    return retrieval.scores(
        features.features[is_query],
        features.labels[is_query],
        ks,
        gallery=features.features[is_gallery],
        gallery_labels=features.labels[is_gallery],
        metric=metric,
        query_ids=features.rows[is_query],
        gallery_ids=features.rows[is_gallery],
    )


def _features(opened: OpenedModel, table: Table, folder: Path) -> Embeddings:
    return features_of(
        opened.network,
        opened.recipe,
        table,
        folder,
        checkpoint_hash=opened.checkpoint.weights_hash,
        precision=opened.precision,
    )
