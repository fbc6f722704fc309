"""The pictures and intervals of an evaluation, of a made-up model."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from shelfmark.core.strings import Strings
from shelfmark.data.class_map import ClassList
from shelfmark.data.table import Table
from shelfmark.evaluation.classification import Predictions, predict_from_features
from shelfmark.pipelines.evaluate import class_scores
from shelfmark.recipe import Recipe
from shelfmark.runtime import evaluation_plots

COUNTS = np.array([150, 50, 5, 5])
# What is predicted of ten images of four classes, the last of which has none; one image has no label.
LABELS = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, -1, 2])
PREDICTED = torch.tensor([0, 0, 1, 2, 1, 2, 0, 0, 3, 0])
FILES = {"accuracy_by_frequency.png", "weight_norms.png", "reliability.png", "confused_pairs.csv", "confused_pairs.png"}


def _opened(classifier: str = "linear") -> SimpleNamespace:
    recipe = Recipe.model_validate({"model": {"classifier": {"type": classifier}}})
    return SimpleNamespace(recipe=recipe, counts=COUNTS, num_classes=4, class_name=lambda label: f"class {label}")


def _predictions() -> Predictions:
    logits = 2 * torch.nn.functional.one_hot(PREDICTED, 4).float()
    return predict_from_features(logits, LABELS, torch.Tensor.clone, 4)


def _table(folder: Path) -> Table:
    # The features lack the picture in row 0, which could not be read.
    names = Strings.of(f"{row}.jpg" for row in range(11))
    return Table(names, np.concatenate([[0], LABELS.numpy()]), names, 4, folder, "")


def _draw(folder: Path, classifier: str = "linear") -> set[str]:
    features = SimpleNamespace(rows=np.arange(1, 11))
    weights = {"classifier": torch.ones(4, 3)}
    evaluation_plots.draw_evaluation(_opened(classifier), _table(folder), features, _predictions(), weights, folder)
    return {path.name for path in folder.iterdir()}


def test_every_score_of_the_table_of_groups_has_its_interval() -> None:
    scores = class_scores(_opened(), _predictions())
    names = ("top1", "mean_class_accuracy", "many", "medium", "few")
    assert scores["top1"] == 3 / 9
    assert scores["mean_class_accuracy"] == pytest.approx((2 / 3 + 1 / 3 + 0) / 3)
    assert all(scores[f"{name}_low"] <= scores[name] <= scores[f"{name}_high"] for name in names)
    assert (scores["few_low"], scores["few_high"]) == (0, 0)
    # Each image has the confidence e^2 / (e^2 + 3).
    assert scores["ece"] == pytest.approx(np.e**2 / (np.e**2 + 3) - 3 / 9, abs=1e-6)
    assert list(scores)[:3] == ["top1", "top1_low", "top1_high"]


def test_a_score_that_cannot_be_given_has_no_interval_either() -> None:
    nothing = predict_from_features(torch.zeros(2, 4), torch.tensor([-1, -1]), torch.Tensor.clone, 4)
    scores = class_scores(_opened(), nothing)
    for name in ("top1", "mean_class_accuracy", "many", "medium", "few"):
        assert scores[name] is scores[f"{name}_low"] is scores[f"{name}_high"] is None
    assert scores["ece"] is None


def test_an_evaluation_leaves_its_pictures(tmp_path: Path) -> None:
    assert _draw(tmp_path) == FILES
    rows = (tmp_path / "confused_pairs.csv").read_text().splitlines()[1:]
    assert rows == ["2,class 2,0,class 0,3,3,1", "1,class 1,2,class 2,2,3,0.666667", "0,class 0,1,class 1,1,3,0.333333"]


def test_the_pictures_are_of_a_mistake_and_of_the_class_it_was_taken_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(evaluation_plots, "confused_pairs_sheet", lambda pairs, path: drawn.extend(pairs))
    _draw(tmp_path)
    # Feature i is of row i + 1. Class 2 was never predicted rightly, so its first image must do.
    shown = [[Path(one.source.name(one.row)).name for one in (pair.picture, pair.predicted_picture)] for pair in drawn]
    assert shown == [["7.jpg", "1.jpg"], ["4.jpg", "7.jpg"], ["3.jpg", "5.jpg"]]


def test_a_class_without_a_picture_of_val_is_shown_by_one_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(evaluation_plots, "confused_pairs_sheet", lambda pairs, path: drawn.extend(pairs))
    # The annotations list the classes in another order than the model: their class 1 is the model's class 3.
    names = ["class 0", "class 3", "class 1", "class 2"]
    records = [{"category_id": label, "fpath": f"train_{row}.jpg"} for row, label in enumerate([0, 2, 1, 1, 3])]
    document = {"annotations": records, "num_classes": 4, "class_names": names}
    (tmp_path / "train.json").write_text(json.dumps(document))
    for row in range(5):
        (tmp_path / f"train_{row}.jpg").touch()
    model = _opened()
    model.classes = ClassList(4, tuple(f"class {label}" for label in range(4)), "the checkpoint")
    features, weights = SimpleNamespace(rows=np.arange(1, 11)), {"classifier": torch.ones(4, 3)}
    predicted = torch.where(LABELS == 2, 3, PREDICTED)
    logits = 2 * torch.nn.functional.one_hot(predicted, 4).float()
    found = predict_from_features(logits, LABELS, torch.Tensor.clone, 4)
    for train_json, shown in ((tmp_path / "train.json", str(tmp_path / "train_2.jpg")), (tmp_path / "gone.json", None)):
        drawn.clear()
        data = model.recipe.data.model_copy(update={"root": tmp_path, "train_json": train_json})
        model.recipe = model.recipe.model_copy(update={"data": data})
        evaluation_plots.draw_evaluation(model, _table(tmp_path), features, found, weights, tmp_path)
        [pair] = [one for one in drawn if one.pair.predicted == 3]
        picture = pair.predicted_picture
        assert (None if picture is None else picture.source.name(picture.row)) == shown
        assert pair.predicted_is_training == (shown is not None)
        assert not any(one.predicted_is_training for one in drawn if one is not pair)


def test_a_picture_that_fails_costs_a_warning_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no fonts here")

    monkeypatch.setattr(evaluation_plots, "reliability_diagram", fail)
    assert _draw(tmp_path) == FILES - {"reliability.png"}
    assert f"{tmp_path / 'reliability.png'} was not written: RuntimeError: no fonts here" in caplog.text


def test_the_rows_of_a_cosine_classifier_are_not_drawn(tmp_path: Path) -> None:
    assert _draw(tmp_path, "cosine") == FILES - {"weight_norms.png"}
