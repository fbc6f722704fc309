"""The plots of an evaluation. A plot that fails gives a warning, and the scores stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from shelfmark.core.contracts import Embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.log import warn
from shelfmark.data.class_map import matched
from shelfmark.data.sources import FileSource, Picture
from shelfmark.data.table import Table
from shelfmark.evaluation.classification import Predictions
from shelfmark.ops.calibration_metrics import reliability
from shelfmark.ops.confusions import ConfusedPair, confused_pairs
from shelfmark.recipe import assemble
from shelfmark.reports.class_plots import accuracy_by_frequency, weight_norms
from shelfmark.reports.confused_pairs import ShownPair, confused_pairs_sheet, write_confused_pairs
from shelfmark.reports.reliability import reliability_diagram
from shelfmark.runtime.trained_model import TrainedModel


def draw_evaluation(
    model: TrainedModel,
    val: Table,
    features: Embeddings,
    predictions: Predictions,
    weights: Mapping[str, Tensor],
    folder: Path,
) -> None:
    """Writes accuracy_by_frequency.png, weight_norms.png, reliability.png, confused_pairs.png and .csv.

    predictions: of the rows of `features`, which are those of `val`. weights: name -> (C, D) classifier; the last one
    made the predictions, those before it are drawn for comparison.
    """
    limits = model.recipe.eval
    _attempt(
        folder / "accuracy_by_frequency.png",
        lambda path: accuracy_by_frequency(
            model.counts, predictions.class_counts.accuracy.numpy(), path, limits.many, limits.few
        ),
    )
    # A cosine classifier divides by the length of its rows, so the lengths mean nothing.
    if model.recipe.model.classifier.type == "linear":
        norms = {name: weight.detach().float().norm(dim=1).cpu().numpy() for name, weight in weights.items()}
        _attempt(folder / "weight_norms.png", lambda path: weight_norms(model.counts, norms, path))
    is_labelled = predictions.labels >= 0
    hits = (predictions.predicted == predictions.labels)[is_labelled]
    found = reliability(predictions.confidence[is_labelled], hits)
    _attempt(folder / "reliability.png", lambda path: reliability_diagram(found, path))
    shown = _shown_pairs(model, val, features, predictions)
    _attempt(folder / "confused_pairs.csv", lambda path: write_confused_pairs(shown, path))
    _attempt(folder / "confused_pairs.png", lambda path: confused_pairs_sheet(shown, path))


def _attempt(path: Path, draw: Callable[[Path], None]) -> None:
    try:
        draw(path)
    except Exception as error:
        warn(f"{path} was not written: {type(error).__name__}: {error}")


def _shown_pairs(model: TrainedModel, val: Table, features: Embeddings, predictions: Predictions) -> list[ShownPair]:
    labels, predicted = predictions.labels.numpy(), predictions.predicted.numpy()
    pairs = confused_pairs(predictions.labels, predictions.predicted)
    source = FileSource(val.paths, val.root)
    of_training = _training_pictures(model, {pair.predicted for pair in pairs} - set(labels.tolist()))

    def picture(*choices: np.ndarray) -> Picture | None:
        rows = next((np.flatnonzero(choice) for choice in choices if choice.any()), None)
        return None if rows is None else Picture(source, int(features.rows[rows[0]]))

    def shown(pair: ConfusedPair) -> ShownPair:
        is_other = labels == pair.predicted
        # A rightly predicted picture of the class shows best what the model mistook the others for.
        other = picture(is_other & (predicted == pair.predicted), is_other)
        return ShownPair(
            pair,
            model.class_name(pair.label),
            model.class_name(pair.predicted),
            picture((labels == pair.label) & (predicted == pair.predicted)),
            other or of_training.get(pair.predicted),
            predicted_is_training=other is None and pair.predicted in of_training,
        )

    return [shown(pair) for pair in pairs]


def _training_pictures(model: TrainedModel, labels: set[int]) -> dict[int, Picture]:
    """The first training picture of each of these classes; of none where the training annotations are gone."""
    if not labels:
        return {}
    try:
        table = matched(assemble.read_table(model.recipe, "train", num_classes=0), "train", model.classes)
    except UserError:
        return {}
    source = FileSource(table.paths, table.root)
    found, first = np.unique(table.labels, return_index=True)
    return {int(label): Picture(source, int(row)) for label, row in zip(found, first) if int(label) in labels}
