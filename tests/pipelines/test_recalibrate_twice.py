"""Recalibrating what is recalibrated already: as a user would, command by command."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from small_recipe import SMALL
from twelve_classes import NUM_CLASSES, few_steps, without_pictures, write_twelve_classes

from shelfmark.calibration import tau_normalized
from shelfmark.calibration.folds import Choice
from shelfmark.cli import main
from shelfmark.core.files import write_json
from shelfmark.engine.checkpoint import Checkpoint, load_checkpoint

__all__ = ["few_steps"]

TRAINING = [
    *SMALL,
    "name=linear",
    "data.train_json=train_small.json",
    "data.retrieval_json=null",
    "train.num_epochs=1",
    "train.steps_per_epoch=20",
    "eval.every_epochs=1",
    "eval.many=60",
    "optim.name=adamw",
    "optim.lr=0.003",
    "model.classifier.bias=false",
]
SCORES = ("top1", "mean_class_accuracy", "many", "medium", "few", "ece")


@dataclass(frozen=True)
class Road:
    """folder: a small shop, and log/linear, a run on it whose classifier has no bias. Commands run there."""

    folder: Path

    def run(self, *words: str) -> None:
        with contextlib.chdir(self.folder), without_pictures():
            assert main(list(words)) == 0

    def fails(self, *words: str) -> None:
        with contextlib.chdir(self.folder), without_pictures():
            assert main(list(words)) == 2

    def calibrate(self, checkpoint: str, method: str, out: str, *options: str) -> dict[str, Any]:
        self.run("calibrate", "--RESUME_MODEL", checkpoint, "--method", method, "--out", out, *options)
        return self.summary(out)

    def evaluate(self, checkpoint: str, out: str) -> dict[str, Any]:
        self.run("evaluate", "--RESUME_MODEL", checkpoint, "--out", out)
        return self.summary(out)

    def summary(self, folder: str) -> dict[str, Any]:
        return json.loads((self.folder / folder / "summary.json").read_text())

    def checkpoint(self, name: str) -> Checkpoint:
        return load_checkpoint(self.folder / name)


@pytest.fixture(scope="module")
def road(shop_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Road:
    folder = tmp_path_factory.mktemp("twice")
    write_twelve_classes(folder, shop_root)
    road = Road(folder)
    road.run("train", *TRAINING)
    return road


@pytest.fixture(scope="module")
def retrained(road: Road) -> str:
    """A checkpoint with cRT inside: other weights, and a bias that the trained one had not."""
    assert road.calibrate("log/linear/best_model", "crt", "retrained")["saved"] == "crt"
    return "retrained/best_model"


@pytest.fixture(scope="module")
def normalized(road: Road, retrained: str) -> str:
    """What tau_norm.py makes of the same."""
    road.run("tau-norm", "--RESUME_MODEL", retrained, "output.tau_root=first")
    return "first/retrained/best_model"


def row_of(summary: dict[str, Any], method: str) -> dict[str, Any]:
    return next(row for row in summary["methods"] if row["method"] == method)


@pytest.mark.parametrize(
    ("first", "second"),
    [("ncm", "lws"), ("lws", "logit_adjustment"), ("tau_norm", "temperature")],
)
def test_the_second_checkpoint_scores_as_its_row_says_and_its_manifest_tells_both_steps(
    first: str, second: str, road: Road
) -> None:
    one, two = f"{first}_{second}_1", f"{first}_{second}_2"
    before = road.calibrate("log/linear/best_model", first, one)
    after = road.calibrate(f"{one}/best_model", second, two)
    unmodified, saved = row_of(after, "unmodified"), row_of(after, after["saved"])
    assert unmodified["top1"] == pytest.approx(road.evaluate(f"{one}/best_model", f"{one}_scored")["top1"], abs=1e-9)
    scored = road.evaluate(f"{two}/best_model", f"{two}_scored")
    exact = SCORES[:1] if after["saved"] in ("temperature", "logit_adjustment") else SCORES
    if saved["ece_with_temperature"] is not None:
        # Its temperature is that of all val images, and the row's are those of the other folds.
        assert scored["ece"] == pytest.approx(saved["ece_with_temperature"], abs=0.1)
        exact = tuple(name for name in exact if name != "ece")
    assert {name: scored[name] for name in exact} == pytest.approx({name: saved[name] for name in exact}, abs=1e-6)
    calibration = road.checkpoint(f"{two}/best_model").manifest["calibration"]
    assert calibration["method"] == after["saved"]
    assert calibration["from_checkpoint_sha256"] == road.checkpoint(f"{one}/best_model").weights_hash
    assert calibration["earlier"]["method"] == before["saved"]
    assert calibration["earlier"]["from_checkpoint_sha256"] == road.checkpoint("log/linear/best_model").weights_hash
    assert "earlier" not in calibration["earlier"]


def test_tau_norm_of_a_tau_normed_checkpoint_divides_the_rows_again(
    road: Road, caplog: pytest.LogCaptureFixture
) -> None:
    grid = ["tau_norm.start=0.5", "tau_norm.stop=0.5", "tau_norm.bias=keep", "output.tau_root=halves"]
    with pytest.MonkeyPatch.context() as patched:
        # Whatever it is worth here: the unmodified classifier is never taken.
        patched.setattr("shelfmark.calibration.tau_norm.choose_by_folds", _takes_the_last)
        road.run("tau-norm", "--RESUME_MODEL", "log/linear/best_model", *grid)
        assert "is recalibrated already" not in caplog.text
        road.run("tau-norm", "--RESUME_MODEL", "halves/linear/best_model", *grid)
    assert "halves/linear/best_model is recalibrated already (tau_norm)" in caplog.text
    weights = [
        road.checkpoint(f"{name}/best_model").read_model()["classifier.weight"]
        for name in ("log/linear", "halves/linear", "halves/linear_2")
    ]
    torch.testing.assert_close(weights[1], tau_normalized(weights[0], 0.5))
    torch.testing.assert_close(weights[2], tau_normalized(weights[0], 0.75))
    caplog.clear()
    scored = road.evaluate("halves/linear_2/best_model", "halves_scored")
    assert "tau_norm with tau 0.5, then tau_norm with tau 0.5" in caplog.text
    recalibrated = road.summary("halves/linear_2")["recalibrated"]
    assert {name: scored[name] for name in recalibrated} == pytest.approx(recalibrated, abs=1e-6)


def test_a_classifier_that_got_a_bias_keeps_it_through_tau_norm(road: Road, retrained: str, normalized: str) -> None:
    manifest = road.checkpoint(normalized).manifest
    assert manifest["config"]["model"]["classifier"]["bias"] is True
    assert [manifest["calibration"]["method"], manifest["calibration"]["earlier"]["method"]] == ["tau_norm", "crt"]
    summary = road.summary("first/retrained")
    scored = road.evaluate(retrained, "retrained_scored")
    unmodified = summary["unmodified"]
    assert {name: scored[name] for name in unmodified} == pytest.approx(unmodified, abs=1e-6)


def test_the_summary_of_tau_norm_has_an_interval_of_every_score_and_the_ece(road: Road, normalized: str) -> None:
    summary = road.summary("first/retrained")
    scored = road.evaluate(normalized, "normalized_scored")
    for part in ("unmodified", "recalibrated", "cross_validated"):
        scores = summary[part]
        for name in ("top1", "mean_class_accuracy", "many", "medium", "few"):
            assert 0 <= scores[f"{name}_low"] <= scores[name] <= scores[f"{name}_high"] <= 1
        assert 0 <= scores["ece"] <= 1
        assert list(scores) == [name for name in scored if name in scores]
    recalibrated = summary["recalibrated"]
    assert {name: scored[name] for name in recalibrated} == pytest.approx(recalibrated, abs=1e-6)
    assert len(summary["fold_taus"]) == 5


def test_predicting_with_a_checkpoint_of_two_steps_writes_a_submission(road: Road, normalized: str) -> None:
    pictures = road.folder / "pictures"
    pictures.mkdir()
    for picture in sorted((road.folder / "dataset" / "shop" / "val").glob("*.jpg"))[:3]:
        (pictures / picture.name).write_bytes(picture.read_bytes())
    road.run("test", "--RESUME_MODEL", normalized, "--images", "pictures", "--out", "twice.csv")
    assert len((road.folder / "twice.csv").read_text().splitlines()) == 4


def test_pc_softmax_refuses_a_classifier_that_has_left_the_training_shares(
    road: Road, retrained: str, capsys: pytest.CaptureFixture[str]
) -> None:
    road.fails("calibrate", "--RESUME_MODEL", retrained, "--method", "pc_softmax", "--out", "refused")
    assert "this checkpoint has left the former: crt made it" in capsys.readouterr().err
    assert not (road.folder / "refused").exists()


def test_a_second_temperature_finds_nothing_left_to_do_and_hinders_no_pc_softmax(road: Road) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("shelfmark.pipelines.calibrate.temperature_helps", lambda fitted: "temperature" in fitted)
        cool = road.calibrate("log/linear/best_model", "temperature", "cool")
        again = road.calibrate("cool/best_model", "temperature,pc_softmax", "cool_2")
    temperatures = [row_of(summary, "temperature")["learned"]["temperature"] for summary in (cool, again)]
    assert cool["saved"] == "temperature"
    assert abs(temperatures[0] - 1) > 1e-3
    assert temperatures[1] == pytest.approx(1, abs=1e-4)
    assert {row["method"] for row in again["methods"]} == {"unmodified", "temperature", "pc_softmax"}


def test_a_class_that_is_never_chosen_stays_so_through_a_second_recalibration(road: Road) -> None:
    write_json(road.folder / "target.json", [0.0] + [1.0] * (NUM_CLASSES - 1))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("shelfmark.calibration.comparison.choose_by_folds", _takes_the_last)
        prior = "calibrate.target_prior=target.json"
        assert road.calibrate("log/linear/best_model", "pc_softmax", "without", prior)["saved"] == "pc_softmax"
    summary = road.calibrate("without/best_model", "pc_softmax,temperature,lws,ncm", "without_2")
    assert set(summary["left_out"]) == {"pc_softmax", "temperature", "lws"}
    for name in ("temperature", "lws"):
        assert "never chooses 1 of the 12 classes" in summary["left_out"][name]


def test_the_learned_values_stand_in_the_summary_and_in_the_table(road: Road) -> None:
    summary = road.calibrate("log/linear/best_model", "tau_norm,logit_adjustment,ncm,temperature,lws", "learned")
    learned = {row["method"]: row["learned"] for row in summary["methods"]}
    warmed = [method for method, values in learned.items() if values.pop("temperature_on_top", None)]
    assert warmed in ([], [summary["saved"]])
    assert learned["unmodified"] == learned["ncm_plain"] == learned["ncm_l2"] == {}
    assert len(learned["tau_norm"]["fold_taus"]) == len(learned["logit_adjustment"]["fold_taus"]) == 5
    assert learned["tau_norm"]["bias"] == "zero"
    assert 0 <= learned["logit_adjustment"]["tau"] <= 2
    assert learned["temperature"]["temperature"] > 0
    assert len(learned["temperature"]["fold_temperatures"]) == 5
    assert learned["lws"]["least_scale"] < learned["lws"]["greatest_scale"]
    table = (road.folder / "learned" / "calibration.csv").read_text().splitlines()
    assert table[0].endswith(",ece_with_temperature,learned")
    told = {line.split(",")[0]: line.split(",")[-1] for line in table[1:]}
    assert told["logit_adjustment"] == f"tau {learned['logit_adjustment']['tau']:g}"
    assert told["temperature"] == f"T {learned['temperature']['temperature']:.3g}"
    assert told["ncm_l2"] == ""


def _takes_the_last(hits: torch.Tensor, labels: torch.Tensor, folds: int, seed: int) -> Choice:
    return Choice(len(hits) - 1, [len(hits) - 1] * folds, hits[-1])
