"""`shelfmark calibrate`: one table of many recalibrations, and a checkpoint that the other commands take."""

from __future__ import annotations

import contextlib
import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_recipe import SMALL
from twelve_classes import NUM_CLASSES, few_steps, without_pictures, write_twelve_classes

from shelfmark.cli import main
from shelfmark.cli.commands import COMMANDS
from shelfmark.core.embeddings import read_embeddings
from shelfmark.engine.checkpoint import Checkpoint, load_checkpoint
from shelfmark.runtime.calibration_methods import METHODS

__all__ = ["few_steps"]

ROWS = {
    "unmodified",
    "tau_norm",
    "logit_adjustment",
    "pc_softmax",
    "ncm_plain",
    "ncm_l2",
    "ncm_centred_l2",
    "temperature",
    "lws",
    "crt",
}
SHORT = [
    *SMALL,
    "train.batch_size=32",
    "data.train_json=train_small.json",
    "data.retrieval_json=null",
    "train.num_epochs=1",
    "eval.every_epochs=1",
    "eval.many=60",
]


@dataclass(frozen=True)
class Shop:
    """A small shop in `folder`, and in log/ a run for each classifier: linear, plain (without bias) and cosine."""

    folder: Path

    def calibrate(self, run: str, *options: str, out: str, pictures: bool = False) -> dict[str, Any]:
        with contextlib.chdir(self.folder), contextlib.nullcontext() if pictures else without_pictures():
            assert main(["calibrate", "--RESUME_MODEL", f"log/{run}/best_model", "--out", out, *options]) == 0
        return json.loads((self.folder / out / "summary.json").read_text())

    def checkpoint(self, name: str) -> Checkpoint:
        return load_checkpoint(self.folder / name / "best_model")

    def features(self, split: str, run: str = "linear") -> tuple[torch.Tensor, torch.Tensor]:
        embeddings = read_embeddings(self.folder / "log" / run / "embeddings" / split)
        return torch.from_numpy(np.array(embeddings.features)).double(), torch.from_numpy(embeddings.labels)


@pytest.fixture(scope="module", autouse=True)
def undrawn() -> None:
    """Here a test says itself whether it wants figures."""


@pytest.fixture(scope="module")
def shop(shop_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("calibrate")
    write_twelve_classes(folder, shop_root)
    kinds = {
        "linear": ["train.steps_per_epoch=50", "optim.name=adamw", "optim.lr=0.003"],
        "plain": ["train.steps_per_epoch=2", "model.classifier.bias=false"],
        "cosine": ["train.steps_per_epoch=2", "model.classifier.type=cosine"],
    }
    with contextlib.chdir(folder), without_pictures():
        for name, options in kinds.items():
            assert main(["train", *SHORT, f"name={name}", *options]) == 0
    return Shop(folder)


@pytest.fixture(scope="module")
def all_methods(shop: Shop) -> dict[str, Any]:
    return shop.calibrate("linear", out="all", pictures=True)


def test_the_table_holds_every_method_with_its_intervals(shop: Shop, all_methods: dict[str, Any]) -> None:
    assert {row["method"] for row in all_methods["methods"]} == ROWS
    assert all_methods["methods"][0]["method"] == "unmodified"
    assert all_methods["left_out"] == {}
    for row in all_methods["methods"]:
        for name in ("top1", "mean_class_accuracy", "many", "medium", "few"):
            assert 0 <= row[f"{name}_low"] <= row[f"{name}_high"] <= 1
        assert row["top1_low"] <= row["top1"] <= row["top1_high"]
        assert 0 <= row["ece"] <= 1
    with open(shop.folder / "all" / "calibration.csv", newline="") as stream:
        written = list(csv.DictReader(stream))
    assert [row["method"] for row in written] == [row["method"] for row in all_methods["methods"]]
    few = [row["few"] for row in all_methods["methods"]]
    assert [float(row["few"]) for row in written] == pytest.approx(few, rel=1e-5)


def test_the_folder_holds_the_tables_the_checkpoint_and_its_pictures(shop: Shop, all_methods: dict[str, Any]) -> None:
    names = {path.name for path in (shop.folder / "all").iterdir()}
    tables = {"summary.json", "calibration.csv", "tau_norm.csv", "tau_norm.png"}
    assert tables | {"best_model", "weight_norms.png", "reliability.png"} <= names
    manifest = shop.checkpoint("all").manifest
    assert manifest["calibration"]["method"] == all_methods["saved"]
    assert manifest["calibration"]["from_checkpoint_sha256"] == shop.checkpoint("log/linear").weights_hash


def test_the_chosen_method_has_the_greatest_mean_class_accuracy(all_methods: dict[str, Any]) -> None:
    scores = {row["method"]: row["mean_class_accuracy"] for row in all_methods["methods"]}
    assert scores[all_methods["chosen"]] == pytest.approx(max(scores.values()))
    storable = [score for name, score in scores.items() if name not in ("ncm_l2", "ncm_centred_l2")]
    assert scores[all_methods["saved"]] == pytest.approx(max(storable))


def test_what_is_saved_has_a_temperature_on_top_that_makes_its_probabilities_better(shop: Shop) -> None:
    summary = shop.calibrate("linear", "--method", "ncm", out="warm_means")
    saved = next(row for row in summary["methods"] if row["method"] == summary["saved"])
    assert saved["method"] == "ncm_plain"
    assert saved["ece_with_temperature"] < saved["ece"]
    assert {row["ece_with_temperature"] for row in summary["methods"] if row is not saved} == {None}
    (features, classes), (val, _) = shop.features("train"), shop.features("val")
    means = torch.stack([features[classes == label].mean(dim=0) for label in range(NUM_CLASSES)])
    tensors, calibration = shop.checkpoint("warm_means").read_model(), shop.checkpoint("warm_means").manifest
    temperature = calibration["calibration"]["temperature"]
    assert temperature == pytest.approx(saved["learned"]["temperature_on_top"])
    torch.testing.assert_close(tensors["classifier.weight"].double(), 2 * means / temperature, rtol=1e-4, atol=1e-5)
    logits = val @ tensors["classifier.weight"].double().T + tensors["classifier.bias"].double()
    expected = -torch.cdist(val, means).square() / temperature
    torch.testing.assert_close(logits.softmax(1), expected.softmax(1), rtol=1e-3, atol=1e-4)


def test_one_method_alone_gives_the_row_that_it_has_among_all(shop: Shop, all_methods: dict[str, Any]) -> None:
    alone = shop.calibrate("linear", "--method", "crt", out="crt")
    assert [row["method"] for row in alone["methods"]] == ["unmodified", "crt"]
    assert all(row in all_methods["methods"] for row in alone["methods"])


def test_a_recalibrated_model_is_no_point_to_resume_from(
    shop: Shop, all_methods: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.chdir(shop.folder):
        assert main(["train", "--RESUME_MODEL", "all/best_model"]) == 2
    assert "is a recalibrated model and holds no optimizer to resume" in capsys.readouterr().err


def test_stored_features_are_used_again(
    shop: Shop, all_methods: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    monkeypatch.setattr("shelfmark.runtime.feature_work.extract", lambda *_, **__: passes.append("read again"))
    shop.calibrate("linear", "--method", "ncm,temperature", out="again")
    assert passes == []


def test_class_means_are_learned_from_the_training_images(shop: Shop, all_methods: dict[str, Any]) -> None:
    (learned, classes), (features, labels) = shop.features("train"), shop.features("val")
    records = json.loads((shop.folder / "train_small.json").read_text())["annotations"]
    assert classes.tolist() == [record["category_id"] for record in records]
    means = torch.stack([learned[classes == label].mean(dim=0) for label in range(NUM_CLASSES)])
    hits = (torch.cdist(features, means).argmin(dim=1) == labels).double().mean()
    row = next(row for row in all_methods["methods"] if row["method"] == "ncm_plain")
    assert row["top1"] == pytest.approx(float(hits), abs=1e-9)


def test_pc_softmax_moves_the_bias_to_the_target_prior(shop: Shop, all_methods: dict[str, Any]) -> None:
    target = np.arange(NUM_CLASSES, dtype=float)
    (shop.folder / "target.json").write_text(json.dumps(target.tolist()))
    summary = shop.calibrate("linear", "--method", "pc_softmax", "calibrate.target_prior=target.json", out="moved")
    original = shop.checkpoint("log/linear")
    counts = np.asarray(original.manifest["counts"])
    with np.errstate(divide="ignore"):
        shift = torch.from_numpy(np.log(target / target.sum()) - np.log(counts / counts.sum()))
    features, labels = shop.features("val")
    logits = (
        features @ original.read_model()["classifier.weight"].T.double()
        + original.read_model()["classifier.bias"]
        + shift
    )
    hits = (logits.argmax(dim=1) == labels).double().mean()
    row = next(row for row in summary["methods"] if row["method"] == "pc_softmax")
    assert row["top1"] == pytest.approx(float(hits), abs=1e-9)


@pytest.mark.parametrize("prior", [[1.0] * 11, [1.0] * 11 + [-1.0], [0.0] * 12, {"a": 1}])
def test_a_target_prior_that_is_none_is_refused_before_any_work(
    prior: object, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop.folder / "wrong.json").write_text(json.dumps(prior))
    argv = ["calibrate", "--RESUME_MODEL", "log/linear/best_model", "--method", "pc_softmax", "--out", "refused"]
    with contextlib.chdir(shop.folder):
        assert main([*argv, "calibrate.target_prior=wrong.json"]) == 2
    assert "calibrate.target_prior=wrong.json must hold a JSON list of 12 numbers" in capsys.readouterr().err
    assert not (shop.folder / "refused").exists()


def test_a_temperature_that_makes_the_probabilities_better_is_kept_though_it_changes_no_prediction(shop: Shop) -> None:
    summary = shop.calibrate("linear", "--method", "temperature", out="warm")
    manifest = shop.checkpoint("warm").manifest
    assert summary["saved"] == "temperature"
    assert [row["method"] for row in summary["methods"]] == ["unmodified", "temperature"]
    assert manifest["calibration"]["method"] == "temperature"
    weights = [shop.checkpoint(name).read_model()["classifier.weight"] for name in ("log/linear", "warm")]
    torch.testing.assert_close(weights[1] * manifest["calibration"]["temperature"], weights[0])


def test_the_saved_checkpoint_gives_the_scores_of_its_row_and_a_bias_where_the_method_needs_one(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    summary = shop.calibrate("plain", "--method", "crt", out="with_bias")
    assert summary["saved"] == "crt"
    assert "the saved one has model.classifier.bias=true" in caplog.text
    original, changed = (shop.checkpoint(name).read_model() for name in ("log/plain", "with_bias"))
    assert changed.keys() - original.keys() == {"classifier.bias"}
    assert {name for name in original if not original[name].equal(changed[name])} == {"classifier.weight"}
    with contextlib.chdir(shop.folder), without_pictures():
        assert main(["evaluate", "--RESUME_MODEL", "with_bias/best_model", "--out", "scored"]) == 0
    scored = json.loads((shop.folder / "scored" / "summary.json").read_text())
    row = next(row for row in summary["methods"] if row["method"] == "crt")
    names = ("top1", "mean_class_accuracy", "many", "medium", "few")
    assert [scored[name] for name in names] == pytest.approx([row[name] for name in names], abs=1e-9)


def test_of_a_cosine_classifier_only_the_scale_can_be_saved(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    summary = shop.calibrate("cosine", out="cosine_all")
    assert set(summary["left_out"]) == {"tau_norm", "lws"}
    assert {row["method"] for row in summary["methods"]} == ROWS - {"tau_norm", "lws"}
    assert summary["saved"] in ("unmodified", "temperature")
    assert summary["chosen"] == summary["saved"] or "with a cosine classifier cannot hold it" in caplog.text
    scores = json.loads((shop.folder / "log" / "cosine" / "summary.json").read_text())
    # Of features of any length the predictions would be the same, but not the probabilities.
    assert {name: summary["methods"][0][name] for name in ("top1", "ece")} == pytest.approx(
        {name: scores[name] for name in ("top1", "ece")}, abs=1e-5
    )
    warm = shop.calibrate("cosine", "--method", "temperature", out="cosine_warm")
    original, changed = shop.checkpoint("log/cosine"), shop.checkpoint("cosine_warm")
    assert warm["saved"] == "temperature"
    scales = [one.manifest["config"]["model"]["classifier"]["scale"] for one in (original, changed)]
    assert scales[1] == pytest.approx(scales[0] / changed.manifest["calibration"]["temperature"])
    ours, theirs = original.read_model(), changed.read_model()
    assert all(ours[name].equal(theirs[name]) for name in ours)


def test_a_method_that_the_classifier_has_no_use_for_is_an_error_where_it_stands_alone(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.chdir(shop.folder):
        argv = ["calibrate", "--RESUME_MODEL", "log/cosine/best_model", "--method", "tau_norm", "--out", "nothing"]
        assert main(argv) == 2
    assert "a cosine classifier's have no length" in capsys.readouterr().err
    assert not (shop.folder / "nothing").exists()


def test_tau_norm_among_the_methods_is_what_tau_norm_alone_gives(shop: Shop, all_methods: dict[str, Any]) -> None:
    with contextlib.chdir(shop.folder), without_pictures():
        assert main(["tau-norm", "--RESUME_MODEL", "log/linear/best_model"]) == 0
    alone, among = (shop.folder / name / "tau_norm.csv" for name in ("log_tau/linear", "all"))
    assert alone.read_bytes() == among.read_bytes()
    cross_validated = json.loads((alone.parent / "summary.json").read_text())["cross_validated"]
    row = next(row for row in all_methods["methods"] if row["method"] == "tau_norm")
    assert {name: row[name] for name in cross_validated} == pytest.approx(cross_validated)


def test_the_help_names_every_method_and_a_wrong_name_is_answered_with_the_nearest(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    named = next(option.help for option in COMMANDS["calibrate"].options if option.flag == "--method")
    assert f": {', '.join(METHODS)}; or all" in named
    with contextlib.chdir(shop.folder):
        assert main(["calibrate", "--RESUME_MODEL", "log/linear/best_model", "--method", "ncm,temprature"]) == 2
    assert "Did you mean 'temperature'?" in capsys.readouterr().err
