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
from shelfmark.data.sources import ImageSource, Picture
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
    shown = shown_pairs(
        model,
        assemble.image_source(model.recipe, val),
        features.rows,
        predictions.labels,
        predictions.predicted,
        lambda classes: _training_pictures(model, classes),
    )
    _attempt(folder / "confused_pairs.csv", lambda path: write_confused_pairs(shown, path))
    _attempt(folder / "confused_pairs.png", lambda path: confused_pairs_sheet(shown, path))


def _attempt(path: Path, draw: Callable[[Path], None]) -> None:
    try:
        draw(path)
    except Exception as error:
        warn(f"{path} was not written: {type(error).__name__}: {error}")


def shown_pairs(
    model: TrainedModel,
    source: ImageSource,
    rows: np.ndarray,
    labels: Tensor,
    predicted: Tensor,
    of_training: Callable[[set[int]], Mapping[int, Picture]],
) -> list[ShownPair]:
    """The most confused pairs with a picture of each class.

    rows: (N,) of the source, with labels and predicted (N,). of_training: pictures of the training of these classes,
    for those of which there is none.
    """
    true, taken_for = labels.numpy(), predicted.numpy()
    pairs = confused_pairs(labels, predicted)
    others = of_training({pair.predicted for pair in pairs} - set(true.tolist()))

    def picture(*choices: np.ndarray) -> Picture | None:
        places = next((np.flatnonzero(choice) for choice in choices if choice.any()), None)
        return None if places is None else Picture(source, int(rows[places[0]]))

    def shown(pair: ConfusedPair) -> ShownPair:
        is_other = true == pair.predicted
        # A rightly predicted picture of the class shows best what the model mistook the others for.
        other = picture(is_other & (taken_for == pair.predicted), is_other)
        return ShownPair(
            pair,
            model.class_name(pair.label),
            model.class_name(pair.predicted),
            picture((true == pair.label) & (taken_for == pair.predicted)),
            other or others.get(pair.predicted),
            predicted_is_training=other is None and pair.predicted in others,
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
    return first_pictures(assemble.image_source(model.recipe, table), table.labels, labels)


def first_pictures(source: ImageSource, of_rows: np.ndarray, classes: set[int]) -> dict[int, Picture]:
    """For each class its first picture, if it has one. of_rows: (N,) the label of each row of the source."""
    found, first = np.unique(of_rows, return_index=True)
    return {int(label): Picture(source, int(row)) for label, row in zip(found, first) if int(label) in classes}
