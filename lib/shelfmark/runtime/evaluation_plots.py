"""The pictures of an evaluation. A picture that fails costs a warning, never the scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from shelfmark.core.contracts import Embeddings
from shelfmark.core.log import warn
from shelfmark.data.sources import FileSource, Picture
from shelfmark.data.table import Table
from shelfmark.evaluation.classification import Predictions
from shelfmark.ops.calibration_metrics import reliability
from shelfmark.ops.confusions import ConfusedPair, confused_pairs
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

    predictions: of the rows of `features`, which are those of `val`. weights: the (C, D) classifier that predicted,
    by what it is called, after those it came from, if any.
    """
    limits = model.recipe.eval
    _attempt(
        folder / "accuracy_by_frequency.png",
        lambda path: accuracy_by_frequency(
            model.counts, predictions.class_counts.accuracy.numpy(), path, limits.many, limits.few
        ),
    )
    # The length of a cosine classifier's row means nothing: it is divided out.
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

    source = FileSource(val.paths, val.root)

    def picture(*choices: np.ndarray) -> Picture | None:
        rows = next((np.flatnonzero(choice) for choice in choices if choice.any()), None)
        return None if rows is None else Picture(source, int(features.rows[rows[0]]))

    def shown(pair: ConfusedPair) -> ShownPair:
        is_other = labels == pair.predicted
        return ShownPair(
            pair,
            model.class_name(pair.label),
            model.class_name(pair.predicted),
            picture((labels == pair.label) & (predicted == pair.predicted)),
            # One that the model knows shows best what it took the others for.
            picture(is_other & (predicted == pair.predicted), is_other),
        )

    return [shown(pair) for pair in confused_pairs(predictions.labels, predictions.predicted)]
