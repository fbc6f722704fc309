"""What `make demo` promises, and what its files hold."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from small_recipe import SHORT_DEMO

from shelfmark.cli import main
from shelfmark.cli.commands import COMMANDS
from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.embeddings import read_embeddings
from shelfmark.engine.checkpoint import load_checkpoint
from shelfmark.engine.metrics_log import read_metrics
from shelfmark.predictions.submission import read_topk
from shelfmark.recipe import Recipe
from shelfmark.retrieval.index_files import index_hash


@pytest.mark.slow
def test_the_shop_can_be_learned_and_its_tail_is_hard(whole_demo) -> None:
    summary = whole_demo.summary
    assert summary["top1"] > 0.40
    assert summary["many"] - summary["few"] >= 0.15
    assert summary["few_low"] < summary["few"] < summary["few_high"]


def test_an_eighth_of_the_training_learns_the_head_and_little_of_the_tail(demo) -> None:
    # By chance: 0.008.
    assert demo.summary["top1"] > 0.05
    assert demo.summary["many"] - demo.summary["few"] >= 0.15


def test_the_run_folder_holds_what_it_should(demo) -> None:
    names = {path.name for path in demo.run.iterdir()}
    assert {
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "summary.json",
        "per_class.csv",
        "curves.png",
        "best_model",
        "last",
    } <= names
    assert {path.name for path in demo.recalibrated.iterdir()} >= {
        "best_model",
        "summary.json",
        "calibration.csv",
        "tau_norm.csv",
        "tau_norm.png",
        "submission.csv",
    }


def test_trained_and_recalibrated_models_come_with_their_pictures(demo) -> None:
    pictures = ["accuracy_by_frequency.png", "weight_norms.png", "reliability.png", "confused_pairs.png"]
    for folder in (demo.run, demo.recalibrated):
        assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
        with open(folder / "confused_pairs.csv", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert 0 < len(rows) <= 50
        assert all(int(row["images"]) <= int(row["images_of_class"]) for row in rows)


def test_the_scores_of_the_groups_come_with_intervals(demo) -> None:
    summary = demo.summary
    for name in ("top1", "mean_class_accuracy", "many", "medium"):
        assert summary[f"{name}_low"] < summary[name] < summary[f"{name}_high"]
    # Of the tail the short training may know nothing.
    assert summary["few_low"] <= summary["few"] <= summary["few_high"]
    assert 0 < summary["ece"] < 1
    limits = f"({100 * summary['top1_low']:.1f} - {100 * summary['top1_high']:.1f})"
    assert f"{100 * summary['top1']:.1f}% {limits}" in demo.printed


def test_the_summary_uses_the_fixed_names_as_fractions(demo) -> None:
    names = ["top1", "top5", "mean_class_accuracy", "mean_class_error", "many", "medium", "few", "recall@1", "map"]
    values = [demo.summary[name] for name in names]
    assert all(0 <= value <= 1 for value in values)
    assert demo.summary["mean_class_error"] == pytest.approx(1 - demo.summary["mean_class_accuracy"])


def test_the_table_and_the_paths_are_printed(demo) -> None:
    assert f"{100 * demo.summary['top1']:.1f}%" in demo.printed
    for file in ("log/shop/best_model/", "log/shop/curves.png", "log_tau/shop/tau_norm.png", "submission.csv"):
        assert file in demo.printed


def test_the_commands_that_it_ends_with_are_commands_and_name_files_that_exist(demo) -> None:
    said = demo.printed[demo.printed.index("what next:") :].splitlines()[1:]
    lines = [shlex.split(line, comments=True) for line in said if line.startswith("  shelfmark ")]
    assert {line[1] for line in lines} == {"train", "test", "recognise", "clean", "serve"}
    for _, *argv in lines:
        name = itertools.takewhile(lambda word: not word.startswith("--"), argv)
        assert " ".join(name) in COMMANDS
        assert all((demo.folder / word).exists() for word in argv if "/" in word)
    [recognise] = [line for line in lines if line[1] == "recognise"]
    assert recognise[-1].endswith(".jpg")
    # From the working folder on, so that the line is short.
    assert not Path(recognise[-1]).is_absolute()


def test_it_ends_in_a_file_that_was_proved_and_belongs_to_the_index_beside_it(demo) -> None:
    exported = demo.recalibrated / "exported"
    parity = json.loads((exported / "parity.json").read_text())
    facts = json.loads((exported / "model.json").read_text())
    assert parity["pictures"] >= 200
    assert parity["measured"]["top1_agreement"] == 1
    assert facts["checkpoint_sha256"] == load_checkpoint(demo.recalibrated / "best_model").weights_hash
    assert facts["index"]["sha256"] == index_hash(demo.recalibrated / "index")
    assert f"serve --model {exported.relative_to(demo.folder)}" in demo.printed


@pytest.mark.slow
def test_the_whole_demo_promises_five_percent_and_says_how_many_pictures_get_an_answer(whole_demo) -> None:
    promise = json.loads((whole_demo.recalibrated / "index" / "thresholds.json").read_text())
    assert promise["max_wrong"] == 0.05
    assert promise["bound"]["num_answers"] > 0
    coverage = f"{100 * promise['bound']['coverage']:.1f}% of the pictures get one"
    assert coverage in " ".join(whole_demo.printed.split())


def test_the_reported_scores_follow_from_the_stored_features_and_weights(demo) -> None:
    features = read_embeddings(demo.run / "embeddings" / "val")
    model = load_checkpoint(demo.run / "best_model").read_model()
    logits = torch.from_numpy(features.features) @ model["classifier.weight"].T + model["classifier.bias"]
    hits = (logits.argmax(dim=1).numpy() == features.labels).mean()
    assert hits == pytest.approx(demo.summary["top1"], abs=1.5 / len(features))


def test_the_best_checkpoint_is_the_epoch_with_the_best_validation(demo) -> None:
    records = [record for record in read_metrics(demo.run / "metrics.jsonl") if record["kind"] == "val"]
    best = max(records, key=lambda record: record["mean_class_accuracy"])
    manifest = load_checkpoint(demo.run / "best_model").manifest
    assert (manifest["best_epoch"], manifest["step"]) == (best["epoch"], best["step"])
    assert demo.summary["mean_class_accuracy"] == pytest.approx(best["mean_class_accuracy"], abs=1e-12)


def test_the_written_config_runs_again_as_the_same_recipe(demo) -> None:
    text = (demo.run / "config.yaml").read_text()
    assert "# configs/shop.yaml:" in text
    again = load(Recipe, demo.run / "config.yaml").config
    options = [parse_override(word) for word in SHORT_DEMO]
    assert again == load(Recipe, demo.folder / "configs" / "shop.yaml", options).config


def test_evaluating_the_checkpoint_again_gives_the_same_scores(demo) -> None:
    with contextlib.chdir(demo.folder):
        assert main(["evaluate", "--RESUME_MODEL", "log/shop/best_model.pth", "--out", "again"]) == 0
    assert json.loads((demo.folder / "again" / "summary.json").read_text()) == demo.summary


def test_embed_writes_the_features_that_the_scores_came_from(demo) -> None:
    with contextlib.chdir(demo.folder):
        assert main(["embed", "--RESUME_MODEL", "log/shop/best_model", "--out", "features", "--split", "val"]) == 0
        ours = read_embeddings(demo.run / "embeddings" / "val")
        theirs = read_embeddings(Path("features"))
        assert np.array_equal(ours.features, theirs.features)
        assert list(theirs.image_ids) == list(ours.image_ids)
        assert main(["embed", "--RESUME_MODEL", "log/shop/best_model", "--out", "features"]) == 0
        other = ["--out", "features", "--split", "retrieval"]
        assert main(["embed", "--RESUME_MODEL", "log/shop/best_model", *other]) == 2


def test_the_recalibrated_checkpoint_is_of_the_best_method_and_goes_into_the_table(demo) -> None:
    summary = json.loads((demo.recalibrated / "summary.json").read_text())
    scores = {row["method"]: row for row in summary["methods"]}
    assert scores["unmodified"]["top1"] == pytest.approx(demo.summary["top1"], abs=1e-9)
    assert summary["saved"] == load_checkpoint(demo.recalibrated / "best_model").manifest["calibration"]["method"]
    shown = demo.printed[demo.printed.index("The shop") :]
    assert summary["saved"] in shown
    assert f"{100 * scores[summary['saved']]['mean_class_accuracy']:.1f}%" in shown
    assert f"{100 * summary['cross_validated']['mean_class_accuracy']:.1f}%" in shown


@pytest.fixture(scope="module")
def tau(demo) -> Path:
    """What tau-norm makes of the demo's model; its features are stored."""
    with contextlib.chdir(demo.folder):
        assert main(["tau-norm", "--RESUME_MODEL", "log/shop/best_model", "output.tau_root=tau_alone"]) == 0
    return demo.folder / "tau_alone" / "shop"


def test_the_checkpoint_of_tau_norm_stores_its_tau_and_the_rescaled_weight(demo, tau: Path) -> None:
    original, recalibrated = (load_checkpoint(folder / "best_model") for folder in (demo.run, tau))
    calibration = recalibrated.manifest["calibration"]
    assert calibration["method"] == "tau_norm"
    assert calibration["from_checkpoint_sha256"] == original.weights_hash
    before, after = original.read_model(), recalibrated.read_model()
    weight = before["classifier.weight"]
    if calibration["unmodified"]:
        expected = weight
    else:
        expected = weight / weight.norm(dim=1, keepdim=True) ** calibration["tau"]
    torch.testing.assert_close(after["classifier.weight"], expected)
    unchanged = [name for name in before if not name.startswith("classifier.")]
    assert all(torch.equal(before[name], after[name]) for name in unchanged)


def test_the_tau_table_holds_the_whole_sweep_and_the_unmodified_model(demo, tau: Path) -> None:
    with open(tau / "tau_norm.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert (demo.recalibrated / "tau_norm.csv").read_text() == (tau / "tau_norm.csv").read_text()
    assert [row["tau"] for row in rows if row["model"] == "unmodified"] == ["n/a"]
    taus = [float(row["tau"]) for row in rows if row["model"] == "tau-norm"]
    assert taus == pytest.approx(np.arange(31) * 0.05)
    assert len(rows) == 32


def test_the_submission_has_one_row_for_each_test_image_in_the_files_order(demo) -> None:
    images = json.loads((demo.folder / "dataset" / "shop" / "test.json").read_text())["images"]
    content = (demo.recalibrated / "submission.csv").read_bytes()
    assert content.startswith(b"id,predicted\r\n")
    rows = [line.split(",") for line in content.decode().split("\r\n")[1:-1]]
    assert [name for name, _ in rows] == [image["image_id"] for image in images]
    assert all(0 <= int(label) < 120 for _, label in rows)


def test_photographs_of_any_folder_are_predicted_by_sorted_relative_path(demo, tmp_path: Path) -> None:
    pictures = sorted((demo.folder / "dataset" / "shop" / "val").glob("*.jpg"))[:3]
    for name, picture in zip(("z.jpg", "b/second.jpg", "a.JPG"), pictures):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture.read_bytes())
    out = tmp_path / "out" / "predicted.csv"
    with contextlib.chdir(demo.folder):
        argv = ["test", "--RESUME_MODEL", "log/shop/best_model", "--images", str(tmp_path), "--topk", "5"]
        assert main([*argv, "--out", str(out)]) == 0
    rows = [line.split(",") for line in out.read_text().splitlines()[1:]]
    assert [row[0] for row in rows] == ["a.JPG", "b/second.jpg", "z.jpg"]
    with open(out.with_name("predicted_top5.csv"), newline="") as stream:
        best = list(csv.DictReader(stream))
    assert [row["class_1"] for row in best] == [row[1] for row in rows]
    scores = [[float(row[f"score_{place}"]) for place in range(1, 6)] for row in best]
    assert all(line == sorted(line, reverse=True) and 0 < sum(line) <= 1.0001 for line in scores)


def test_views_of_a_photograph_are_averaged(demo, tmp_path: Path) -> None:
    val = json.loads((demo.folder / "dataset" / "shop" / "val.json").read_text())["annotations"][:8]
    for record in val:
        picture = demo.folder / "dataset" / "shop" / record["fpath"]
        (tmp_path / picture.name).write_bytes(picture.read_bytes())
    argv = ["test", "--RESUME_MODEL", "log/shop/best_model", "--images", str(tmp_path), "--topk", "120"]
    scores = {}
    with contextlib.chdir(demo.folder):
        for name, options in {
            "plain": [],
            "flip": ["--tta", "flip"],
            "ten": ["--tta", "ten_crop", "data.eval_crop=0.9"],
            "sizes": ["predict.sizes_px=[64, 96]"],
            "large": ["predict.sizes_px=[96]"],
        }.items():
            assert main([*argv, *options, "--out", str(tmp_path / f"{name}.csv")]) == 0
            _, classes, values, _ = read_topk(tmp_path / f"{name}_top120.csv")
            scores[name] = np.take_along_axis(values, classes.argsort(1), axis=1)
    np.testing.assert_allclose(scores["sizes"], (scores["plain"] + scores["large"]) / 2, atol=2e-6)
    for name in ("flip", "ten", "large"):
        np.testing.assert_allclose(scores[name].sum(1), 1, atol=1e-4)
        assert np.abs(scores[name] - scores["plain"]).max() > 1e-3


def test_nothing_is_overwritten_by_a_second_submission(demo) -> None:
    before = (demo.recalibrated / "submission.csv").read_bytes()
    with contextlib.chdir(demo.folder):
        assert main(["test", "--RESUME_MODEL", "log_tau/shop/best_model"]) == 0
    assert (demo.recalibrated / "submission_2.csv").read_bytes() == before
