"""Photographs that nobody has looked at before: one that cannot be read does not keep the others from an answer."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from refusals import refusal
from untrained_models import make_place

from shelfmark.cli import main
from shelfmark.predictions.submission import read_submission, read_topk
from shelfmark.retrieval.index_files import read_index

MODEL = ["--RESUME_MODEL", "log/run/last"]
SPOILT = ["--images", "pictures/spoilt"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_place(tmp_path)
    return tmp_path


def listed(file: str) -> list[tuple[str, str]]:
    with open(file, newline="") as stream:
        return [(Path(row["path"]).name, row["reason"]) for row in csv.DictReader(stream)]


def test_the_others_of_a_folder_are_predicted_and_shown_with_names(
    place: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["test", *MODEL, *SPOILT, "--topk", "2", "--out", "a.csv"]) == 1
    assert list(read_submission(Path("a.csv"))[0]) == ["0.png"]
    ids, classes, _, names = read_topk(Path("a_top2.csv"))
    assert list(ids) == ["0.png"]
    assert names == {label: f"class {label}" for label in classes[0].tolist()}
    reason = "not a JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF or HEIC image"
    assert listed("a_bad_images.csv") == [(f"{row}.png", reason) for row in range(4, 9)]
    assert f"4.png could not be read: {reason}" in caplog.text
    assert "5 of 6 photographs could not be read; all are listed in a_bad_images.csv" in caplog.text
    assert "1 prediction written to a.csv" in caplog.text
    words = capsys.readouterr().out.split()
    assert ["0.png", "class", str(classes[0, 0]), f"({classes[0, 0]})"] == words[words.index("0.png") :][:4]


def test_a_photograph_whose_name_annotations_cannot_hold_is_told_and_the_others_are_labelled(
    place: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path("photographs")
    folder.mkdir()
    strange = os.fsdecode(b"K\xe4se.png")
    for name in ("a.png", strange):
        shutil.copy("pictures/val_0.png", folder / name)
    argv = ["pseudo-label", *MODEL, "--images", "photographs", "--min-confidence", "0.01", "--out", "pseudo.json"]
    assert main(argv) == 0
    assert [record["image_id"] for record in json.loads(Path("pseudo.json").read_text())["annotations"]] == ["a.png"]
    assert "the names of 1 of 2 confident images are not UTF-8, such as " in caplog.text
    (folder / "a.png").unlink()
    assert "Rename the files" in refusal(argv, capsys)


def test_of_a_test_set_each_image_needs_its_row(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [{"image_id": f"spoilt/{row}.png"} for row in (0, 4)]
    Path("test.json").write_text(json.dumps({"images": images}))
    argv = ["test", *MODEL, "data.test_json=test.json", "data.test_root=pictures", "--topk", "3", "--out", "a.csv"]
    assert "spoilt/4.png could not be read" in refusal(argv, capsys)
    assert not list(place.glob("a*.csv"))


def test_the_guess_for_an_unreadable_image_is_of_the_most_frequent_classes(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = [*(f"classes/{row}.png" for row in range(120)), "spoilt/4.png"]
    Path("pictures/classes").mkdir()
    for one in images[:-1]:
        shutil.copy("pictures/val_0.png", Path("pictures", one))
    Path("test.json").write_text(json.dumps({"images": [{"image_id": one} for one in images]}))
    options = ["data.test_json=test.json", "data.test_root=pictures", "data.on_bad_image=skip"]
    assert main(["test", *MODEL, *options, "--topk", "3", "--out", "a.csv"]) == 1
    # The model counted 5, 4 and 4 images. The file is one that an ensemble takes: no class stands twice.
    ids, classes, scores, _ = read_topk(Path("a_top3.csv"))
    assert list(ids) == images
    assert classes[-1].tolist() == [0, 1, 2]
    assert np.isnan(scores).all(axis=1).tolist() == [False] * 120 + [True]
    assert "1 image could not be read; each is given the most frequent class, class 0 (0)" in caplog.text


def test_products_with_files_of_one_name_get_longer_ids_and_their_folders_name_them(
    place: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for shop, product, row in (("x", "tea", 0), ("y", "tea", 1), ("y", "class 1", 2)):
        Path(shop, product).mkdir(parents=True)
        shutil.copy(f"pictures/val_{row}.png", Path(shop, product, "1.png"))
    assert main(["index", "build", *MODEL, "--split", "retrieval", "--out", "index"]) == 0
    add = ["index", "add", "--index", "index"]
    assert main([*add, "--images", "x", "--label-from", "folder"]) == 0
    assert main([*add, "--images", "y", "--label-from", "folder"]) == 0
    assert main([*add, "--images", "y/tea", "--label", "9", "--id-prefix", "again"]) == 2
    assert "y/tea/1.png with the id 'y/tea/1.png' is there already" in capsys.readouterr().err
    assert main([*add, "--annotations", "more.json", "--id-prefix", "more"]) == 0
    records = read_index(Path("index")).records
    assert list(records.ids)[7:] == [
        "x/tea/1.png",
        "y/class 1/1.png",
        "y/tea/1.png",
        "more/more_0.png",
        "more/more_1.png",
    ]
    # `class 1` is a class of the model; tea is new at first, and then that of the index.
    assert records.labels.tolist()[7:10] == [3, 1, 3]
    assert records.names[3] == "tea"
    assert "tea (3): 1 image" in caplog.text
    assert "--label-from takes the classes" in refusal([*add, "--label-from", "folder", "--split", "val"], capsys)


def test_what_would_be_refused_is_refused_before_the_pass(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", "build", *MODEL, *SPOILT, "--out", "index"]) == 1
    monkeypatch.setattr("shelfmark.runtime.index_content.features_of_photographs", pytest.fail)
    monkeypatch.setattr("shelfmark.runtime.index_content.model_features", pytest.fail)
    assert "spoilt/0.png" in refusal(["index", "add", "--index", "index", *SPOILT], capsys)
    (place / "more.json").write_text((place / "more.json").read_text().replace('"more_0.png"', '"spoilt/0.png"'))
    add = ["index", "add", "--index", "index", "--annotations", "more.json"]
    assert "'spoilt/0.png' is there already" in refusal(add, capsys)


def test_an_emptied_index_says_so_and_takes_images_again(
    place: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for kind in ("flat", "hnsw"):
        index = ["--index", kind]
        assert main(["index", "build", *MODEL, "--split", "retrieval", "--kind", kind, "--out", kind]) == 0
        assert main(["index", "remove", *index, "--labels", "0", "1", "2"]) == 0
        assert f"removed from {kind}, which is empty now: it answers nothing until images are added" in caplog.text
        for command in ("search", "recognise"):
            said = refusal([command, *index, "pictures/val_0.png"], capsys)
            assert f"{kind} is empty: all its images were removed. Add some with `shelfmark index add`" in said
        assert main(["index", "info", *index]) == 0
        empty = read_index(Path(kind))
        scores, rows = empty.search(empty.vectors()[:0].reshape(0, empty.dim), 3)
        assert (scores.shape, rows.shape) == ((0, 3), (0, 3))
        assert main(["index", "add", *index, "--split", "val"]) == 0
        caplog.clear()
        capsys.readouterr()
        assert main(["search", *index, "pictures/val_0.png", "--k", "50", "--json"]) == 0
        [answer] = json.loads(capsys.readouterr().out)
        assert len(answer["neighbours"]) == 11
        assert f"{kind} has 11 images, fewer than --k 50; all of them are compared" in caplog.text
