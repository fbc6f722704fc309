"""A run that is validated by retrieval alone: no picture of the training classes is kept out of training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_recipe import SMALL

from shelfmark.cli import main
from shelfmark.core.embeddings import read_embeddings
from shelfmark.data.annotations import read_annotations
from shelfmark.engine.checkpoint import load_checkpoint

ALONE = [*SMALL, "name=alone", "data.val_json=null", "train.num_epochs=1", "train.steps_per_epoch=2"]


def without_roles(file: Path) -> Path:
    """A copy of retrieval annotations whose records say neither is_query nor is_gallery."""
    content = json.loads(file.read_text())
    for record in content["annotations"]:
        del record["is_query"], record["is_gallery"]
    out = file.with_name("without_roles.json")
    out.write_text(json.dumps(content))
    return out


def leave_one_out_recall(features: np.ndarray, labels: np.ndarray) -> float:
    unit = features.astype(np.float64) / np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    has_positive = (labels[:, None] == labels).sum(axis=1) > 1
    return float((labels[similarity.argmax(axis=1)] == labels)[has_positive].mean())


def test_a_run_without_val_is_chosen_scored_and_resumed_by_retrieval(small: Path) -> None:
    file = without_roles(small / "retrieval_small.json")
    options = [*ALONE, f"data.retrieval_json={file.name}", "eval.metric=recall@1"]
    assert main(["train", *options]) == 0
    run = small / "log" / "alone"
    summary = json.loads((run / "summary.json").read_text())
    assert not {"top1", "mean_class_accuracy", "many", "ece"} & set(summary)
    assert not (run / "per_class.csv").exists()
    assert not (run / "embeddings" / "val").exists()
    table = read_annotations(file, Path("dataset/shop"), num_classes=0)
    features = read_embeddings(run / "embeddings" / "retrieval")
    assert len(features.features) == len(table)
    expected = leave_one_out_recall(features.features, table.labels[features.rows])
    assert summary["recall@1"] == pytest.approx(expected, abs=1e-6)
    assert load_checkpoint(run / "best_model").manifest["best_score"] == pytest.approx(expected, abs=0.05)
    # What comes after training starts from the run as well, and other pictures can be given to classify.
    assert main(["evaluate", "--RESUME_MODEL", "log/alone/best_model", "--out", "again"]) == 0
    again = json.loads(Path("again/summary.json").read_text())
    assert again == pytest.approx(summary)
    argv = ["evaluate", "--RESUME_MODEL", "log/alone/best_model", "--out", "both", "data.val_json=val_small.json"]
    assert main(argv) == 0
    assert {"top1", "recall@1"} <= set(json.loads(Path("both/summary.json").read_text()))


def test_what_needs_val_says_so_for_a_run_without(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *ALONE, "eval.metric=map@r"]) == 0
    for command, purpose in (
        (["tau-norm"], "tau-norm scores images"),
        (["calibrate", "--method", "tau_norm"], "recalibration scores"),
    ):
        argv = [*command, "--RESUME_MODEL", "log/alone/best_model"]
        assert main(argv) == 2
        printed = " ".join(capsys.readouterr().err.split())
        assert purpose in printed
        assert "Give annotations of images that it was not trained on, as data.val_json=FILE." in printed
        assert main([*argv, "data.val_json=val_small.json"]) == 0


def mark_training_images(file: Path) -> None:
    content = json.loads(file.read_text())
    train = json.loads((file.parent / "dataset" / "shop" / "train.json").read_text())["annotations"]
    for record, known in zip(content["annotations"][:3], train):
        record |= {"fpath": known["fpath"], "is_query": True}
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("options", "prepare", "message"),
    [
        (["eval.metric=mean_class_accuracy"], None, "choose the checkpoint by retrieval, such as eval.metric=recall@1"),
        (["data.retrieval_json=null", "eval.metric=recall@1"], None, "or images for retrieval, by data.retrieval_json"),
        (["eval.metric=recall@1"], mark_training_images, "queries of data.retrieval_json=retrieval_small.json are"),
    ],
)
def test_a_run_without_val_that_cannot_be_scored_says_what_to_set(
    small: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    prepare: Callable[[Path], None] | None,
    message: str,
) -> None:
    if prepare:
        prepare(small / "retrieval_small.json")
    assert main(["train", *ALONE, *options]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (small / "log" / "alone" / "best_model").exists()


def test_a_run_without_any_score_keeps_its_last_checkpoint_as_the_best(small: Path) -> None:
    options = [*ALONE, "data.retrieval_json=null", "eval.metric=none", "train.num_epochs=2"]
    assert main(["train", *options]) == 0
    run = small / "log" / "alone"
    assert json.loads((run / "summary.json").read_text()) == {}
    assert load_checkpoint(run / "best_model").weights_hash == load_checkpoint(run / "last").weights_hash
    assert not [line for line in (run / "metrics.jsonl").read_text().splitlines() if json.loads(line)["kind"] == "val"]
    argv = ["evaluate", "--RESUME_MODEL", "log/alone/best_model", "--out", "test"]
    assert main([*argv, "data.retrieval_json=retrieval_small.json"]) == 0
    assert 0 < json.loads(Path("test/summary.json").read_text())["recall@1"] <= 1
    assert main(["evaluate", "--RESUME_MODEL", "log/alone/best_model", "--out", "nothing"]) == 2
