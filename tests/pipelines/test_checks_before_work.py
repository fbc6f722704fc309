"""What is wrong with the input or the place of the result is said before a model runs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shelfmark.core.errors import UserError
from shelfmark.pipelines import clean as cleaning
from shelfmark.pipelines import embed as embedding
from shelfmark.pipelines import predict as prediction
from shelfmark.pipelines.calibrate import calibrate
from shelfmark.pipelines.clean import clean
from shelfmark.pipelines.embed import embed
from shelfmark.pipelines.evaluate import evaluate
from shelfmark.pipelines.predict import predict
from shelfmark.pipelines.pseudo_label import pseudo_label
from shelfmark.pipelines.tau_norm import tau_norm


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for a model with a test set of two pictures; whoever runs it fails."""

    def work(*args: object, **options: object) -> None:
        raise AssertionError("the model runs")

    for name in ("1.jpg", "2.jpg"):
        (tmp_path / name).touch()
    monkeypatch.setattr(prediction, "_best_classes", work)
    monkeypatch.setattr(cleaning, "model_features", work)
    monkeypatch.setattr(embedding, "model_features", work)
    data = SimpleNamespace(
        test_json=tmp_path / "test.json",
        root=tmp_path,
        test_root=None,
        extra_roots=(),
        max_bad_images=0.01,
        source="files",
    )
    recipe = SimpleNamespace(data=data, output=SimpleNamespace(tau_root=tmp_path / "recalibrated"))
    network = SimpleNamespace(state_dict=dict)
    return SimpleNamespace(num_classes=3, run_folder=tmp_path, recipe=recipe, network=network)


def write_test_set(opened: Any, *names: str) -> None:
    opened.recipe.data.test_json.write_text(json.dumps({"images": [{"image_id": name} for name in names]}))


def test_an_image_that_stands_twice_in_a_test_set_is_told_before_predicting(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_test_set(opened, "1.jpg", "2.jpg", "1.jpg")
    with pytest.raises(UserError, match=r"images 0 and 2 have the same id '1\.jpg'"):
        predict(opened)
    write_test_set(opened, "1.jpg", "2.jpg")
    with pytest.raises(AssertionError, match="the model runs"):
        predict(opened)


def test_the_place_of_the_result_is_looked_at_first(opened: Any, tmp_path: Path) -> None:
    write_test_set(opened, "1.jpg")
    below_a_file = tmp_path / "1.jpg" / "out"
    for work in (
        lambda: predict(opened, out=below_a_file),
        lambda: predict(opened, out=tmp_path),
        lambda: pseudo_label(opened, below_a_file),
        lambda: pseudo_label(opened, tmp_path),
        lambda: embed(opened, below_a_file, images=tmp_path),
        lambda: clean(opened, below_a_file),
        lambda: clean(opened, tmp_path / "1.jpg"),
        lambda: evaluate(opened, below_a_file),
        lambda: calibrate(opened, ["all"], below_a_file),
    ):
        with pytest.raises(UserError, match="--out .*(cannot be written|is a f)"):
            work()


def test_a_checkpoint_that_will_not_fit_is_told_before_the_pass(opened: Any, tmp_path: Path) -> None:
    weights = SimpleNamespace(nbytes=9 * 10**18)
    opened.network.state_dict = lambda: {"weight": weights}
    for work in (lambda: calibrate(opened), lambda: tau_norm(opened)):
        with pytest.raises(UserError, match=r"output\.tau_root: .*9,000,000,000,000,000,000 bytes are needed"):
            work()
    assert not (tmp_path / "recalibrated").exists()


def test_a_negative_number_of_best_classes_is_refused(opened: Any) -> None:
    with pytest.raises(UserError, match="--topk -5"):
        predict(opened, topk=-5)
