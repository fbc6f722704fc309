"""Scores of one model on val and on the query and gallery pictures, from features on disk."""

from __future__ import annotations

from glob import escape
from pathlib import Path
from typing import Any

import torch

from shelfmark.calibration import bootstrap_intervals
from shelfmark.core.contracts import Embeddings
from shelfmark.core.destinations import require_place
from shelfmark.core.files import write_json
from shelfmark.core.together import from_main, together
from shelfmark.data.table import Table
from shelfmark.evaluation import classification
from shelfmark.evaluation.per_class import PerClass, write_per_class
from shelfmark.ops.calibration_metrics import reliability
from shelfmark.ops.confusions import taken_for
from shelfmark.runtime.evaluation_plots import draw_evaluation
from shelfmark.runtime.features import model_features
from shelfmark.runtime.retrieval_scores import NOTHING_MORE, ExtraScores, class_recalls, write_retrieval_scores
from shelfmark.runtime.splits import read_evaluation
from shelfmark.runtime.stored_features import STORED
from shelfmark.runtime.trained_model import TrainedModel, open_model


def evaluate(
    model: TrainedModel, folder: Path, asked: ExtraScores = NOTHING_MORE, former: Path | None = None
) -> dict[str, Any]:
    """Scores a checkpoint on its recipe's val and retrieval pictures; writes into `folder`.

    former: the common name of the folders of earlier evaluations (`scores` for `scores_2`). Their features, or those in
    the run's folder, are used if they fit.
    """
    with together():
        require_place(folder, "--out", is_folder=True)
        val, gallery = read_evaluation(model)
    return evaluate_on(model, val, gallery, folder, asked, former)


def evaluate_on(
    model: TrainedModel,
    val: Table | None,
    retrieval_table: Table | None,
    folder: Path,
    asked: ExtraScores = NOTHING_MORE,
    former: Path | None = None,
) -> dict[str, Any]:
    """The scores, by the names of summary.json. A table may be None: without val there are retrieval scores alone.

    Writes summary.json, per_class.csv, retrieval_per_class.csv, the pictures and embeddings/ into `folder`.
    """
    stored_in = evaluated_before(former)
    val_features = found = None
    if val is not None:
        val_features = found = model_features(model, val, folder / STORED / "val", stored_in=stored_in)
    if retrieval_table is not None:
        found = model_features(model, retrieval_table, folder / STORED / "retrieval", stored_in=stored_in)

    def report() -> dict[str, Any]:
        summary: dict[str, Any] = {}
        predictions = search = None
        if val is not None and val_features is not None:
            predictions = _predictions(model, val_features)
            weights = {"classifier": model.network.classifier.weight}
            draw_evaluation(model, val, val_features, predictions, weights, folder)
            summary |= class_scores(model, predictions)
        if found is not None:
            scores, search = write_retrieval_scores(model, found, val, retrieval_table, folder, asked)
            summary |= scores
        if predictions is not None and val_features is not None:
            recalls = class_recalls(model, val_features, search if retrieval_table is None else None)
            _write_per_class(model, predictions, recalls, folder)
        write_json(folder / "summary.json", summary)
        return summary

    return from_main(report, "report")


def evaluated_before(former: Path | None) -> list[Path]:
    """The folders of features of earlier evaluations of this name."""
    return [] if former is None else sorted(former.parent.glob(f"{escape(former.name)}*/{STORED}"))


def draw_recalibrated(model: TrainedModel, checkpoint: Path, val: Table, features: Embeddings) -> None:
    """Writes the plots of a recalibrated checkpoint beside it.

    model: the one before recalibration. features: of val; recalibration does not change them.
    """
    recalibrated = open_model(checkpoint)
    weights = {
        "before": model.network.classifier.weight,
        "after recalibration": recalibrated.network.classifier.weight,
    }
    draw_evaluation(model, val, features, _predictions(recalibrated, features), weights, checkpoint.parent)


def class_scores(model: TrainedModel, predictions: classification.Predictions) -> dict[str, float | None]:
    """Classification scores with 95% intervals by bootstrap, and the `ece`."""
    limits = model.recipe.eval
    is_labelled = predictions.labels >= 0
    labels = predictions.labels[is_labelled]
    hits = predictions.predicted[is_labelled] == labels
    intervals = bootstrap_intervals(
        hits, labels, model.num_classes, model.counts, limits.many, limits.few, seed=model.recipe.seed
    )
    scores: dict[str, float | None] = {}
    for name, score in predictions.class_counts.scores(model.counts, limits.many, limits.few).items():
        scores[name] = score
        if name in intervals:
            scores[f"{name}_low"], scores[f"{name}_high"] = intervals[name] or (None, None)
    return scores | {"ece": reliability(predictions.confidence[is_labelled], hits).expected_error}


def _write_per_class(
    model: TrainedModel, predictions: classification.Predictions, recalls: dict[int, float], folder: Path
) -> None:
    limits = model.recipe.eval
    others = taken_for(predictions.labels, predictions.predicted)
    table = PerClass(
        predictions.class_counts, model.counts, model.class_names, limits.many, limits.few, recalls, others
    )
    write_per_class(folder / "per_class.csv", table)


def _predictions(model: TrainedModel, features: Embeddings) -> classification.Predictions:
    with torch.inference_mode():
        return classification.predict_from_features(
            features.features, features.labels, model.network.logits, model.num_classes, model.precision.device
        )
