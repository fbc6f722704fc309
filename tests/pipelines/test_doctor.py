"""`shelfmark doctor` on a small catalogue with every kind of fault planted, and what `--fix` makes of it."""

from __future__ import annotations

import csv
import hashlib
import json
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawn_pictures import CHANGES, drawn
from PIL import Image

from shelfmark.cli import main
from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.data.boxes import NOT_INSIDE
from shelfmark.data.images import read_rgb
from shelfmark.data.sources import UnreadableImage
from shelfmark.pipelines.doctor import doctor
from shelfmark.pipelines.shrink import shrink
from shelfmark.recipe import Recipe, assemble
from shelfmark.runtime import measured_pictures as module

CLASSES, PER_CLASS = 4, 6
SIDE = 160


def save(file: Path, picture: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), picture[..., ::-1])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 sound pictures of four classes for training, eight for val, and the faults."""
    root = tmp_path_factory.mktemp("doctor")
    records: dict[str, list[dict[str, Any]]] = {"train": [], "val": []}

    def add(split: str, name: str, label: int, picture: np.ndarray | None = None) -> None:
        if picture is not None:
            save(root / "pictures" / name, picture)
        records[split].append({"fpath": name, "image_id": Path(name).stem, "category_id": label, "shelf": "A1"})

    for number in range(CLASSES * PER_CLASS):
        add("train", f"sound_{number}.png", number // PER_CLASS, drawn(number, SIDE))
    for number in range(2 * CLASSES):
        add("val", f"val_{number}.png", number // 2, drawn(100 + number, SIDE))
    for number, (name, change) in enumerate(CHANGES.items()):
        add("train", f"{name.replace(' ', '_')}.png", number // PER_CLASS, change(drawn(number, SIDE)))
    add("train", "same.bmp", 1, drawn(7, SIDE))
    add("train", "leak.png", 2, CHANGES["mirrored"](drawn(104, SIDE)))
    add("train", "wrong.png", 0, drawn(20, SIDE))
    add("train", "dark.png", 1, (drawn(200, SIDE) * 0.15).astype(np.uint8))
    add("train", "blurred.png", 1, cv2.GaussianBlur(drawn(201, SIDE), (0, 0), 4))
    add("train", "strip.png", 1, drawn(202, 500)[:140])
    add("train", "missing.png", 3)
    add("train", "rare.png", 4, drawn(203, SIDE))
    (root / "pictures" / "page.png").write_bytes(b"<html>")
    add("val", "page.png", 0)
    for split, some in records.items():
        document = {"annotations": some, "num_classes": CLASSES + 1, "class_names": [*"abcd", "=rare"], "own": split}
        (root / f"{split}.json").write_text(json.dumps(document))
    return root


def options(place: Path) -> list[str]:
    return [
        *["name=mine", "data.generated=''", f"data.root={place}/pictures", "data.num_workers=0"],
        *[f"data.train_json={place}/train.json", f"data.val_json={place}/val.json", "data.test_json="],
        *["data.retrieval_json=", "data.input_size_px=128"],
    ]


def digests(folder: Path) -> dict[str, str]:
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir()) if file.is_file()
    }


@pytest.fixture(scope="module")
def told(place: Path) -> dict[str, Any]:
    """The JSON document, of a call from another folder; nothing that was there changed."""
    before = digests(place) | digests(place / "pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr("sys.stdout", out := StringIO())
        assert main(["doctor", "--fix", "--json", *options(place)]) == 0
    assert before == digests(place) | digests(place / "pictures")
    return json.loads(out.getvalue())


def listed(place: Path, name: str) -> list[dict[str, str]]:
    with open(place / "log" / "mine_doctor" / f"{name}.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def test_each_planted_fault_is_found_and_nothing_else(place: Path, told: dict[str, Any]) -> None:
    numbers = {one["kind"]: one["num"] for one in told["findings"]}
    assert numbers == {
        "unreadable": 2,
        "exact_copies": 2,
        "near_copies": 6,
        "leaks": 1,
        "two_labels": 1,
        "doubtful_labels": None,
        "one_product": None,
        "blank": 0,
        "dark": 1,
        "bright": 0,
        "blurred": 1,
        "tiny": 0,
        "odd_shape": 1,
        "few_images": 1,
    }
    reasons = {row["image_id"]: row["reason"] for row in listed(place, "unreadable")}
    assert reasons.keys() == {"missing", "page"}
    assert reasons["missing"] == "missing"
    assert reasons["page"].startswith("not a JPEG")
    near = {row["image_id"]: row["copy"] for row in listed(place, "near_copies") if row["copy"]}
    assert near["mirrored"] == "mirrored"
    assert near["recoloured"] == "recoloured"
    assert near["cropped"].startswith("cropped to 9") or near["cropped"].startswith("cropped to 8")
    assert near["saved_anew"] == "saved anew"
    assert [row["image_id"] for row in listed(place, "leaks")] == ["leak", "val_4"]
    assert {(row["image_id"], row["class"]) for row in listed(place, "two_labels")} == {
        ("sound_20", "d"),
        ("wrong", "a"),
    }
    # A spreadsheet would run a name that begins with =.
    assert [(row["class"], row["images"]) for row in listed(place, "few_images")] == [("'=rare", "1")]
    # a: six photographs and wrong.png; b: six and three; c: six and leak.png; d: six; rare: one. Copies count once.
    assert told["classes"] == {"num": 5, "fewest": 1, "median": 7.0, "most": 9}
    assert {Path(path).name for [path] in told["findings"][0]["first"]} == {"missing.png", "page.png"}


def test_the_page_shows_pictures_of_each_kind_and_runs_nothing(place: Path, told: dict[str, Any]) -> None:
    html = (place / "log" / "mine_doctor" / "report.html").read_text(encoding="utf-8")
    assert told["page"].endswith("mine_doctor/report.html")
    assert "<script" not in html
    assert html.count("data:image/jpeg;base64,") >= 2 + 12 + 2 + 2 + 3
    for heading in ("Cannot be read", "Copies under two labels", "In training and in an evaluation", "Too dark"):
        assert f"{heading}</h2>" in html


def test_new_annotations_lose_what_is_surely_wrong_and_keep_every_field(place: Path, told: dict[str, Any]) -> None:
    fixed = told["fixed"]
    assert [one["option"] for one in fixed["annotations"]] == ["data.train_json", "data.val_json"]
    before, after = (
        json.loads(file.read_text()) for file in (place / "train.json", place / fixed["annotations"][0]["file"])
    )
    gone = {one["image_id"] for one in before["annotations"]} - {one["image_id"] for one in after["annotations"]}
    # Recoloured pictures stay, and the larger one of each other pair.
    assert gone == {"saved_anew", "resized", "cropped", "mirrored", "same", "leak", "sound_20", "wrong", "missing"}
    assert after["own"] == "train"
    assert all(one["shelf"] == "A1" for one in after["annotations"])
    assert [one for one in before["annotations"] if one["image_id"] not in gone] == after["annotations"]
    assert set(Path(place / fixed["drop_list"]).read_text().split()) == gone
    val = json.loads((place / fixed["annotations"][1]["file"]).read_text())
    assert len(val["annotations"]) == 2 * CLASSES
    assert fixed["command"].endswith(f"data.val_json={fixed['annotations'][1]['file']}")
    assert fixed["command"].count("data.train_json=") == 1
    assert f"data.root={place}/pictures" in fixed["command"]
    assert fixed["emptied"] == []


def test_a_second_call_decodes_only_what_could_not_be_read_and_takes_another_folder(
    place: Path,
    told: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "200")
    decoded: list[str] = []
    measure = module._measured
    monkeypatch.setattr(module, "_measured", lambda paths, *rest: decoded.extend(paths) or measure(paths, *rest))
    assert main(["doctor", *options(place)]) == 0
    assert sorted(Path(one).name for one in decoded) == ["missing.png", "page.png"]
    said = capsys.readouterr().out
    assert "mine_doctor_2/report.html" in caplog.text
    assert "not looked for: it needs a network" in said
    assert "saved anew, resized, cropped, mirrored or recoloured" in said


def test_features_judge_the_labels(place: Path, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    recipe = load(Recipe, None, [parse_override(word) for word in options(place)]).config
    known = {
        Path(one["fpath"]).name: one["category_id"]
        for one in json.loads((place / "train.json").read_text())["annotations"]
    }

    def features_of(paths: Any, folder: Path) -> np.ndarray:
        generator = np.random.default_rng(0)
        means = np.eye(6, 24) * 4
        truth = [{"wrong.png": 3}.get(Path(one).name, known.get(Path(one).name, 5)) for one in paths]
        return (means[truth] + 0.3 * generator.normal(size=(len(truth), 24))).astype(np.float32)

    found = doctor(recipe, place / "judged", features_of, is_fixed=True)
    by_name = {one.name: one for one in found.findings}
    [doubtful] = by_name["doubtful_labels"].culprits
    assert doubtful.rows[0][:3] == ("wrong", "a", "d")
    assert by_name["one_product"].why_not == ""
    assert (place / "judged" / "labels" / "relabel.csv").read_text().splitlines()[1] == "wrong,3,d"


def test_features_that_know_little_do_not_join_classes(
    place: Path, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(place)
    recipe = load(Recipe, None, [parse_override(word) for word in options(place)]).config
    noise = np.random.default_rng(0)
    found = doctor(recipe, place / "weak", lambda paths, folder: noise.normal(size=(len(paths), 8)).astype(np.float32))
    [one_product] = [one for one in found.findings if one.name == "one_product"]
    assert one_product.why_not.startswith("these features find the given class of ")
    assert not one_product.culprits


def test_without_the_folder_of_the_pictures_nothing_is_looked_at_or_left_out(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*options(place), f"data.root={place}/picture", f"output.log_root={tmp_path}/log"]
    assert main(["doctor", *words, "--fix"]) == 2
    assert f"{place}/picture is not a folder. The paths in the file are relative to it" in capsys.readouterr().err
    assert not (tmp_path / "log").exists()


def test_photographs_with_boxes_in_parquet_are_looked_at_once_and_written_as_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [f"{number}.png" for number in range(6)]
    for number, name in enumerate(names):
        save(tmp_path / "pictures" / name, drawn(number, SIDE))
    save(tmp_path / "pictures" / "copy.bmp", drawn(0, SIDE))
    # Every photograph has products a and b, and the last of them c too, in two places; the copy and a missing one too.
    rows = [(name, label, [10 * label, 5, 40, 30]) for name in (*names, "copy.bmp", "gone.png") for label in (0, 1)]
    rows += [(names[-1], 2, [x, 60, 40, 30]) for x in (0, 50)]
    columns = {
        "category_id": pa.array([label for _, label, _ in rows], pa.int16()),
        "fpath": pa.array([name for name, _, _ in rows]).dictionary_encode(),
        "bbox": [box for _, _, box in rows],
        "price": [1.5] * len(rows),
    }
    top = json.dumps({"num_classes": 3, "class_names": ["a", "b", "c"]})
    pq.write_table(pa.table(columns).replace_schema_metadata({"shelfmark": top}), tmp_path / "train.parquet")
    words = ["name=mine", "data.root=pictures", "data.train_json=train.parquet", "data.val_json=", "data.num_workers=0"]
    words += ["data.retrieval_json=", "data.test_json=", "eval.metric=recall@1", "data.input_size_px=128"]
    recipe = load(Recipe, None, [parse_override(word) for word in words]).config
    found = doctor(recipe, tmp_path / "out", lambda paths, folder: np.eye(len(paths), 8, dtype=np.float32), True)
    by_name = {one.name: one for one in found.findings}
    assert [row[3] for one in by_name["unreadable"].culprits for row in one.rows] == ["missing"] * 2
    assert [row[:3] for one in by_name["few_images"].culprits for row in one.rows] == [("c", 2, 1)]
    assert found.counts.tolist() == [6, 6, 1]
    assert "shelfmark clean" in by_name["doubtful_labels"].why_not
    assert found.fixed is not None
    after = pq.read_table(found.fixed.annotations["data.train_json"])
    assert after.schema == pq.read_table(tmp_path / "train.parquet").schema
    assert after.schema.metadata[b"shelfmark"] == top.encode()
    kept = [row for row in rows if row[0] not in ("copy.bmp", "gone.png")]
    assert [tuple(row[name] for name in ("fpath", "category_id", "bbox")) for row in after.to_pylist()] == kept


def test_boxes_outside_of_their_photograph_are_those_that_a_training_refuses_and_their_records_alone_are_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(4):
        save(tmp_path / "pictures" / f"{number}.jpg", drawn(number, SIDE))
    # A photograph on its side, and one that is decoded at half of its sides.
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(drawn(5, SIDE)[:80]).save(tmp_path / "pictures" / "lying.jpg", exif=exif)
    save(tmp_path / "pictures" / "large.jpg", drawn(6, 400))
    whole = [(f"{number}.jpg", None) for number in range(3)]
    sound = [("3.jpg", [0, 0, 161, 160]), ("3.jpg", [120, 120, 40, 40]), ("lying.jpg", [0, 100, 80, 60])]
    sound += [("large.jpg", [300, 300, 100, 100]), *whole]
    wrong = [("3.jpg", [150, 20, 40, 40]), ("3.jpg", [20, 159.5, 20, 2]), ("lying.jpg", [100, 0, 60, 80])]
    wrong += [("large.jpg", [300, 300, 100, 102.5]), ("large.jpg", [400, 0, 9, 9])]
    rows = [*wrong[:2], *sound, *wrong[2:]]
    records = [
        {"fpath": name, "category_id": number % 2, **({"bbox": box} if box else {})}
        for number, (name, box) in enumerate(rows)
    ]
    (tmp_path / "train.json").write_text(json.dumps({"annotations": records, "num_classes": 2}))
    words = ["name=mine", "data.root=pictures", "data.train_json=train.json", "data.val_json=", "data.num_workers=0"]
    words += ["data.retrieval_json=", "data.test_json=", "eval.metric=none", "data.max_image_pixels=60000"]
    recipe = load(Recipe, None, [parse_override(word) for word in words]).config
    packed = load(Recipe, None, [parse_override(word) for word in (*words, "data.source=packed:copy")]).config
    sound_only = {"annotations": [one for one, row in zip(records, rows) if row in sound], "num_classes": 2}
    for number, asked in enumerate((recipe, packed)):
        if number:
            # The copy is made of annotations that are sound, as it is when annotations come later.
            (tmp_path / "sound.json").write_text(json.dumps(sound_only))
            shrink(
                asked.model_copy(update={"data": asked.data.model_copy(update={"train_json": Path("sound.json")})}),
                48,
                90,
                Path("copy"),
            )
        table = assemble.read_table(asked, "train")
        source = assemble.image_source(asked, table)
        refused = []
        for row in range(len(table)):
            try:
                read_rgb(source, row, asked.data.max_image_pixels)
            except UnreadableImage as error:
                refused.append((row, error.reason))
        assert refused == [(row, NOT_INSIDE) for row, one in enumerate(rows) if one in wrong]
        found = doctor(asked, tmp_path / f"out{number}", is_fixed=True)
        unreadable = next(one for one in found.findings if one.name == "unreadable")
        told = sorted(row[0] for culprit in unreadable.culprits for row in culprit.rows)
        assert told == sorted(table.image_ids[row] for row, _ in refused)
        assert len(unreadable.culprits) == 3
        with open(found.files["unreadable"], newline="") as stream:
            assert {row["reason"] for row in csv.DictReader(stream)} == {NOT_INSIDE}
        assert found.fixed is not None
        after = json.loads(found.fixed.annotations["data.train_json"].read_text())
        assert after["annotations"] == sound_only["annotations"]
        assert sorted(found.fixed.drop_list.read_text().splitlines()) == told
