"""From a checkpoint to lists and pseudo-labels, and back into training: a catalogue of three colours."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from three_colours import COLOURS, PER_CLASS, WRONG

from shelfmark.cleaning.suspects import Suspects
from shelfmark.cli import main
from shelfmark.config.load import load
from shelfmark.core.contracts import Embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data.annotations import read_annotations
from shelfmark.data.table import Table
from shelfmark.engine.checkpoint import config_overrides, load_checkpoint
from shelfmark.pipelines import clean as pipeline
from shelfmark.pipelines.clean import LabelFindings, write_lists
from shelfmark.pipelines.predict import Prediction
from shelfmark.pipelines.pseudo_label import pseudo_label
from shelfmark.recipe import Recipe, assemble
from shelfmark.runtime.trained_model import open_model


@pytest.fixture(autouse=True)
def in_place(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(colours)


def test_clean_ranks_the_wrong_labels_first_and_lists_them(caplog: pytest.LogCaptureFixture) -> None:
    assert main(["clean", "--RESUME_MODEL", "log/run/best_model", "--out", "v1", "--min-suspicion", "0.6"]) == 0
    assert "false alarms" not in caplog.text
    with open("v1/suspects.csv", newline="") as stream:
        ranked = list(csv.DictReader(stream))
    assert len(ranked) == 3 * PER_CLASS
    assert {int(row["row"]) for row in ranked[:2]} == WRONG.keys()
    for row in ranked:
        number = int(row["row"])
        assert (row["image_id"], row["fpath"]) == (f"train_{number:02}", f"train/{number:02}.png")
        assert int(row["label"]) == WRONG.get(number, number // PER_CLASS)
        mean = (float(row["prototype"]) + float(row["confidence"])) / 2
        assert float(row["suspicion"]) == pytest.approx(mean, abs=2e-6)
    assert [int(row["suggested"]) for row in ranked[:2]] == [int(row["row"]) // PER_CLASS for row in ranked[:2]]
    suspicion = [float(row["suspicion"]) for row in ranked]
    assert suspicion == sorted(suspicion, reverse=True)
    assert set(Path("v1/drop.txt").read_text().split()) == {"train_04", "train_15"}
    relabelled = Path("v1/relabel.csv").read_text().splitlines()
    assert relabelled[0] == "image_id,label,name"
    assert set(relabelled[1:]) == {"train_04,0,red", "train_15,1,green"}
    assert [(row["label_name"], row["suggested_name"]) for row in ranked if row["row"] == "4"] == [("green", "red")]


def test_a_model_that_is_mostly_wrong_about_the_images_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stored = pipeline.model_features

    def without_meaning(*given: Any) -> Embeddings:
        features = stored(*given)
        noise = np.random.default_rng(0).standard_normal(features.features.shape).astype(np.float32)
        return replace(features, features=noise)

    monkeypatch.setattr(pipeline, "model_features", without_meaning)
    assert main(["clean", "--RESUME_MODEL", "log/run/best_model", "--out", "weak", "--min-suspicion", "0.6"]) == 0
    num_listed = len(Path("weak/drop.txt").read_text().split())
    assert num_listed > 0
    assert f"most of the {num_listed} images of drop.txt are likely false alarms of a weak model" in caplog.text


def test_the_lists_name_images_by_their_row_of_the_table_and_relabel_where_both_judges_agree(tmp_path: Path) -> None:
    # Rows 0 and 3 could not be read. The suspicions: 0.7, 0.1, 0.9 and, for want of a label, 0.
    ids, paths = Strings.of(["b", "c", "e", "f"]), Strings.of(["b.jpg", "c.jpg", "e.jpg", "f.jpg"])
    labels, doubt = np.array([0, 0, 1, -1]), np.array([0.8, 0.1, 0.9, 0.0])
    embeddings = Embeddings(np.zeros((4, 2)), labels, ids, paths, rows=np.array([1, 2, 4, 5]))
    prototype, agreed = np.array([0.6, 0.1, 0.9, 0.0]), np.array([False, True, True, False])
    suspects = Suspects(labels, labels >= 0, prototype, doubt, np.array([2, 1, 0, -1]), agreed)
    write_lists(LabelFindings(tmp_path, embeddings, suspects, leaves=np.array([True, False, True, False])))
    assert (tmp_path / "suspects.csv").read_text() == (
        "row,image_id,fpath,label,suggested,suspicion,prototype,confidence\n"
        "4,e,e.jpg,1,0,0.900000,0.900000,0.900000\n"
        "1,b,b.jpg,0,2,0.700000,0.600000,0.800000\n"
        "2,c,c.jpg,0,1,0.100000,0.100000,0.100000\n"
    )
    assert (tmp_path / "drop.txt").read_text() == "e\nb\n"
    assert (tmp_path / "relabel.csv").read_text() == "image_id,label\ne,0\n"


def test_lists_shape_the_training_table_alone_and_decide_between_resume_and_finetune() -> None:
    Path("drop.txt").write_text("train_04\n")
    Path("relabel.csv").write_text("image_id,label\ntrain_15,1\n")
    lists = ["data.lists.drop=[drop.txt]", "data.lists.relabel=[relabel.csv]"]
    assert main(["train", "--RESUME_MODEL", "log/run/last", *lists, "train.num_epochs=1"]) == 0
    checkpoint = load_checkpoint(Path("log/run_finetune/last"))
    assert checkpoint.manifest["counts"] == [9, 10, 10]
    recipe: Recipe = load(Recipe, None, config_overrides(checkpoint)).config
    table = assemble.read_table(recipe, "train")
    assert "train_04" not in list(table.image_ids)
    assert table.labels[list(table.image_ids).index("train_15")] == 1
    assert table.sha256 == checkpoint.manifest["train_sha256"]
    assert len(assemble.read_table(recipe, "val")) == 6
    # LabelFindings once more, under its own lists: the next round judges what is left.
    assert main(["clean", "--RESUME_MODEL", "log/run_finetune/last"]) == 0
    suspects = Path("log/run_finetune/clean/suspects.csv").read_text()
    assert len(suspects.splitlines()) == 1 + 29
    assert "train_04" not in suspects


def test_other_annotations_are_judged_where_they_are_given() -> None:
    argv = ["clean", "--RESUME_MODEL", "log/run/best_model", "--annotations", "val.json", "--out", "of_val"]
    assert main(argv) == 0
    assert len(Path("of_val/suspects.csv").read_text().splitlines()) == 1 + 6
    assert main(argv) == 0
    assert Path("of_val_2/suspects.csv").is_file()


def test_confident_predictions_become_annotations_that_train() -> None:
    model = ["pseudo-label", "--RESUME_MODEL", "log/run/best_model", "--min-confidence", "0.4"]
    assert main([*model, "--out", "pseudo.json"]) == 0
    table = read_annotations(Path("pseudo.json"), Path("pictures"))
    assert 0 < len(table) <= 6
    assert set(table.sources or []) == {"pseudo"}
    assert set(table.paths) <= {f"test/{number:02}.png" for number in range(6)}
    assert table.confidence is not None
    assert (table.confidence >= 0.4).all()
    assert table.class_names == ("red", "green", "blue")
    assert len(Path("pseudo_predicted.csv").read_text().splitlines()) == 1 + 6
    named = Path("pseudo_predicted_top1.csv").read_text().splitlines()
    assert (named[0], len(named)) == ("id,class_1,score_1,name_1", 1 + 6)
    assert main([*model, "--with-train", "--out", "both.json"]) == 0
    both = read_annotations(Path("both.json"), Path("pictures"))
    assert len(both) == 3 * PER_CLASS + len(table)
    assert both.labels[[*WRONG]].tolist() == [*WRONG.values()]
    assert list(both.sources or [])[: 3 * PER_CLASS] == [""] * 3 * PER_CLASS


def test_images_elsewhere_are_written_with_whole_paths_and_the_option_they_need(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Image.new("RGB", (32, 32), COLOURS[0]).save(tmp_path / "shelf.png")
    argv = ["pseudo-label", "--RESUME_MODEL", "log/run/best_model", "--images", str(tmp_path)]
    assert main([*argv, "--min-confidence", "0.01", "--out", "elsewhere.json"]) == 0
    table = read_annotations(Path("elsewhere.json"), Path("pictures"), extra_roots=[tmp_path])
    assert list(table.paths) == [str(tmp_path / "shelf.png")]
    assert f"data.extra_roots=[{tmp_path}]" in caplog.text


def test_only_images_with_a_score_at_the_limit_or_above_are_labelled(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = Strings.of(["test/a.png", "test/b.png", "unreadable.png", "d.png"])
    table = Table(ids, np.full(4, -1), ids, 0, Path("pictures").absolute(), sha256="")
    classes, scores = np.array([[2], [0], [1], [0]]), np.float32([[0.75], [0.5], [np.nan], [0.99]])
    monkeypatch.setattr(
        "shelfmark.pipelines.pseudo_label.predict",
        lambda *args, out, **options: Prediction(table, classes, scores, out, None),
    )
    opened = open_model(Path("log/run/best_model"))
    written_to = pseudo_label(opened, Path("exact.json"), min_confidence=0.75).file
    assert json.loads(written_to.read_text())["annotations"] == [
        {"category_id": 2, "fpath": "test/a.png", "image_id": "test/a.png", "source": "pseudo", "confidence": 0.75},
        {"category_id": 0, "fpath": "d.png", "image_id": "d.png", "source": "pseudo", "confidence": 0.99},
    ]
    with pytest.raises(UserError, match=r"no image is predicted with a probability of 0.995; the greatest is 0.990"):
        pseudo_label(opened, Path("none.json"), min_confidence=0.995)
    assert not Path("none.json").exists()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["clean", "--min-suspicion", "1.5"], "--min-suspicion=1.5 must lie in 0..1"),
        (["clean", "--keep-accuracy", "-1"], "--keep-accuracy=-1.0 must lie in 0..1"),
        (["pseudo-label", "--out", "x.json", "--min-confidence", "0"], "--min-confidence=0.0 must lie in 0..1"),
    ],
)
def test_an_option_out_of_range_is_named(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*argv, "--RESUME_MODEL", "log/run/best_model"]) == 2
    assert said in capsys.readouterr().err
