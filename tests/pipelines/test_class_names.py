"""The classes of annotations are those of the checkpoint by name, whatever their order, in every command."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import refusal
from three_colours import PER_CLASS, TRAIN, WRONG

from shelfmark.cli import main
from shelfmark.core.embeddings import read_embeddings
from shelfmark.engine.checkpoint import load_checkpoint
from shelfmark.retrieval.index_files import read_index

NAMES = ["red", "green", "blue"]
MODEL = ["--RESUME_MODEL", "log/run/best_model"]
OTHER = ["data.train_json=other_train.json", "data.val_json=other_val.json"]


@pytest.fixture(autouse=True)
def in_place(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the annotations, `other_...`: the same images, with the classes in the order blue, red, green."""
    monkeypatch.chdir(colours)
    for split in ("train", "val"):
        write(f"other_{split}.json", in_order(split, ["blue", "red", "green"]))


def in_order(split: str, names: list[str], **top: Any) -> dict[str, Any]:
    document = json.loads(Path(f"{split}.json").read_text())
    for one in document["annotations"]:
        one["category_id"] = names.index(NAMES[one["category_id"]])
    return {**document, "class_names": names, "num_classes": len(names), **top}


def write(file: str, document: dict[str, Any]) -> None:
    Path(file).write_text(json.dumps(document))


def summary(folder: str) -> dict[str, Any]:
    return json.loads(Path(folder, "summary.json").read_text())


def test_evaluate_scores_the_same_in_any_order_of_the_classes(caplog: pytest.LogCaptureFixture) -> None:
    assert main(["evaluate", *MODEL, "--out", "same"]) == 0
    assert "matched by name" not in caplog.text
    assert main(["evaluate", *MODEL, "--out", "ordered", *OTHER]) == 0
    assert "other_val.json: 3 classes stand in another order than in the checkpoint; matched by name" in caplog.text
    assert summary("ordered") == summary("same")
    per_class = [Path(folder, "per_class.csv").read_text() for folder in ("same", "ordered")]
    assert per_class[0] == per_class[1]


def test_classes_that_the_checkpoint_lacks_are_named_and_fewer_are_fine(capsys: pytest.CaptureFixture[str]) -> None:
    document = in_order("val", ["blue", "red", "green"])
    document["class_names"] = ["blue", "rot", "grün"]
    write("foreign.json", document)
    said = refusal(["evaluate", *MODEL, "--out", "x", "data.val_json=foreign.json"], capsys)
    assert "foreign.json has images of 2 classes that the checkpoint does not know: 'rot', 'grün'." in said
    assert not Path("x").exists()
    fewer = in_order("val", ["blue", "green", "red"])
    kept = [one for one in fewer["annotations"] if one["category_id"] < 2]
    write("fewer.json", {**fewer, "annotations": kept, "class_names": ["blue", "green"], "num_classes": 2})
    assert main(["evaluate", *MODEL, "--out", "fewer", "data.val_json=fewer.json"]) == 0
    rows = list(csv.DictReader(Path("fewer/per_class.csv").read_text().splitlines()))
    assert [row["class_name"] for row in rows if int(row["val_images"]) > 0] == ["green", "blue"]
    nameless = {name: value for name, value in {**fewer, "num_classes": 4}.items() if name != "class_names"}
    write("nameless.json", nameless)
    said = refusal(["evaluate", *MODEL, "--out", "x", "data.val_json=nameless.json"], capsys)
    assert "nameless.json has num_classes=4 but the checkpoint has 3, and without class_names" in said


@pytest.mark.parametrize("argv", [["tau-norm"], ["calibrate", "--method", "ncm"]])
def test_recalibrations_learn_the_same_classifier_in_any_order_of_the_classes(argv: list[str]) -> None:
    for root, options in (("tau_same", []), ("tau_other", OTHER)):
        assert main([*argv, *MODEL, f"output.tau_root={root}_{argv[-1]}", *options]) == 0
    one, other = (
        load_checkpoint(Path(f"{root}_{argv[-1]}", "run", "best_model")) for root in ("tau_same", "tau_other")
    )
    assert one.manifest["class_names"] == other.manifest["class_names"] == NAMES
    assert one.manifest["calibration"]["method"] == other.manifest["calibration"]["method"]
    theirs = other.read_model()
    for name, tensor in one.read_model().items():
        np.testing.assert_array_equal(tensor, theirs[name])


def test_pseudo_labels_and_training_annotations_are_numbered_once() -> None:
    train = in_order("train", ["blue", "pink", "red", "green"])
    train["annotations"].append({"category_id": 1, "fpath": "val/00.png", "true_category_id": 0})
    train["groups"] = ["cold", "warm", "warm", "cold"]
    write("pink.json", train)
    argv = ["pseudo-label", *MODEL, "--min-confidence", "0.4", "--with-train", "data.train_json=pink.json"]
    assert main([*argv, "--out", "joined.json"]) == 0
    joined = json.loads(Path("joined.json").read_text())
    assert (joined["class_names"], joined["num_classes"]) == ([*NAMES, "pink"], 4)
    assert joined["groups"] == ["warm", "cold", "cold", "warm"]
    by_path = {one["fpath"]: one for one in joined["annotations"]}
    for row in range(3 * PER_CLASS):
        assert by_path[f"train/{row:02}.png"]["category_id"] == WRONG.get(row, row // PER_CLASS)
    assert (by_path["val/00.png"]["category_id"], by_path["val/00.png"]["true_category_id"]) == (3, 2)
    found = [one for one in joined["annotations"] if one.get("source") == "pseudo"]
    # The test pictures are two of each colour, in the order of NAMES.
    assert found
    assert all(one["category_id"] == int(one["fpath"][5:7]) // 2 for one in found)
    # Training images among those that are predicted stand once, with their own labels.
    argv = ["pseudo-label", *MODEL, "--min-confidence", "0.1", "--with-train", "--images", "pictures/train"]
    assert main([*argv, "--out", "again.json"]) == 0
    again = json.loads(Path("again.json").read_text())["annotations"]
    assert [one["category_id"] for one in again] == [WRONG.get(row, row // PER_CLASS) for row in range(3 * PER_CLASS)]


def test_features_and_an_index_have_the_numbers_of_the_model(caplog: pytest.LogCaptureFixture) -> None:
    assert main(["embed", *MODEL, "--split", "train", "--out", "features_same"]) == 0
    assert main(["embed", *MODEL, "--split", "train", "--out", "features_other", *OTHER]) == 0
    ours, theirs = (read_embeddings(Path(f"features_{one}")) for one in ("same", "other"))
    assert ours.labels.tolist() == theirs.labels.tolist()
    assert main(["index", "build", *MODEL, "--annotations", "other_train.json", "--out", "index_other"]) == 0
    index = read_index(Path("index_other"))
    assert index.facts["shares_classes"]
    assert index.records.names == dict(enumerate(NAMES))
    assert index.records.labels.tolist() == ours.labels.tolist()
    assert main(["recognise", "--index", "index_other", "pictures/test/00.png"]) == 0


def test_an_index_takes_no_name_from_the_model_where_nothing_says_which_class_is_which(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    nameless = json.loads(Path("other_train.json").read_text())
    del nameless["class_names"]
    write("three.json", nameless)
    assert main(["index", "build", *MODEL, "--annotations", "three.json", "--out", "index_three"]) == 0
    assert "three.json has no class_names; they are taken from the checkpoint, by number" in caplog.text
    kept = [one for one in nameless["annotations"] if one["category_id"] < 2]
    write("two.json", {"annotations": kept, "num_classes": 2})
    assert main(["index", "build", *MODEL, "--annotations", "two.json", "--out", "index_two"]) == 0
    index = read_index(Path("index_two"))
    assert (index.facts["shares_classes"], index.records.names) == (False, {})
    assert "classes by another list" in refusal(["recognise", "--index", "index_two", "pictures/test/00.png"], capsys)
    said = refusal(["index", "add", "--index", "index_three", "--annotations", "two.json"], capsys)
    assert "2 classes without class_names, the checkpoint has 3" in said
    # A class of the index keeps the name that it has there, and one without a name is listed too.
    argv = ["index", "add", "--index", "index_two", "--images", "pictures/test", "--label", "0", "--json"]
    capsys.readouterr()
    assert main(argv) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == [{"class": 0, "name": None}]


def test_clean_keeps_the_numbers_of_the_annotations_that_its_lists_go_back_to() -> None:
    assert main(["clean", *MODEL, "--out", "cleaned", "--min-suspicion", "0.6", *OTHER]) == 0
    lists = ["data.lists.relabel=[cleaned/relabel.csv]"]
    assert set(Path("cleaned/relabel.csv").read_text().split()[1:]) == {"train_04,1,red", "train_15,2,green"}
    assert main(["embed", *MODEL, "--split", "train", "--out", "features_mended", *OTHER, *lists]) == 0
    labels = read_embeddings(Path("features_mended")).labels
    assert labels.tolist() == [row // PER_CLASS for row in range(3 * PER_CLASS)]


def test_validation_and_further_training_files_are_matched_to_the_training_annotations() -> None:
    runs = {"straight": ["data.val_json=val.json"], "crossed": ["data.val_json=other_val.json"]}
    more = {"straight": "half_train.json", "crossed": "half_other_train.json"}
    for name, options in runs.items():
        half = in_order("train", NAMES if name == "straight" else ["blue", "red", "green"])
        write(more[name], {**half, "annotations": half["annotations"][::2]})
        joined = [f"data.more_train_json=[{more[name]}]", "train.num_epochs=1"]
        assert main([*TRAIN, f"name={name}", *options, *joined]) == 0
    assert summary("log/straight") == summary("log/crossed")
    ours, theirs = (load_checkpoint(Path("log", name, "last")) for name in runs)
    assert ours.manifest["counts"] == theirs.manifest["counts"]
    tensors = theirs.read_model()
    for tensor_name, tensor in ours.read_model().items():
        np.testing.assert_array_equal(tensor, tensors[tensor_name])


def test_a_finetuned_classifier_begins_with_the_row_of_each_class_and_says_which_are_new(
    caplog: pytest.LogCaptureFixture,
) -> None:
    train, val = in_order("train", ["pink", "blue", "red", "green"]), in_order("val", ["pink", "blue", "red", "green"])
    train["annotations"].append({"category_id": 0, "fpath": "test/00.png"})
    write("four_train.json", train)
    write("four_val.json", val)
    files = ["data.train_json=four_train.json", "data.val_json=four_val.json"]
    still = ["name=four", "train.num_epochs=1", "optim.lr=1e-12", "optim.weight_decay=0", "model.freeze_bn=true"]
    assert main([*TRAIN, *still, *files, "--RESUME_MODEL", "log/run/best_model"]) == 0
    assert "3 of 4 keep their rows of log/run/best_model, matched by name; 1 new, with fresh rows: pink" in caplog.text
    before = load_checkpoint(Path("log/run/best_model")).read_model()
    checkpoint = load_checkpoint(Path("log/four_finetune/last"))
    after = checkpoint.read_model()
    assert checkpoint.manifest["class_names"] == ["pink", "blue", "red", "green"]
    for name in ("classifier.weight", "classifier.bias"):
        np.testing.assert_allclose(after[name][1:], before[name][[2, 0, 1]], atol=1e-6)
    # The new class's row learned nothing; the others score the known classes as before.
    assert summary("log/four_finetune")["top1"] > 0.5


def test_a_resumed_run_keeps_the_numbers_of_its_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("log/run", "log/copy")
    longer = ["--RESUME_MODEL", "log/copy/last", "--mode", "resume", "train.num_epochs=4"]
    assert main([*TRAIN, *OTHER, *longer]) == 0
    manifest = load_checkpoint(Path("log/copy/last")).manifest
    assert manifest["class_names"] == NAMES
    assert manifest["epoch"] == 4
    foreign = in_order("train", ["blue", "red", "green"])
    write("foreign_train.json", {**foreign, "class_names": ["blue", "red", "pink"]})
    said = refusal(
        [*TRAIN, "data.train_json=foreign_train.json", "data.val_json=null", "eval.metric=none", *longer], capsys
    )
    assert "does not know: 'pink'" in said
    assert "use --mode finetune" in said
