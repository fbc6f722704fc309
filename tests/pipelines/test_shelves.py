"""`shelfmark recognise --boxes` and `--detector`, on a model that has learned nothing."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from refusals import refusal
from untrained_models import make_place

from shelfmark.calibration.promise.rules import Decision
from shelfmark.cli import main
from shelfmark.core.errors import UserError
from shelfmark.data.annotations import read_annotations
from shelfmark.runtime.box_finders import Detector, ListedBoxes

MODEL = ["--RESUME_MODEL", "log/run/last"]
BOXES = [[0, 0, 20, 18], [20, 0, 20, 18], [40, 0, 20, 18], [60, 0, 20, 18], [70, 0, 40, 18]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, its index, and a shelf of four of the index's own pictures side by side; the fifth box is outside."""
    folder = tmp_path_factory.mktemp("shelves")
    make_place(folder)
    (folder / "shelves").mkdir()
    parts = [np.asarray(Image.open(folder / f"pictures/retrieval_{row}.png")) for row in (0, 1, 0, 3)]
    Image.fromarray(np.concatenate(parts, axis=1)).save(folder / "shelves/a.png")
    (folder / "shelves/broken.png").write_bytes(b"no picture")
    Image.fromarray(parts[0]).save(folder / "shelves/none.png")
    images = [{"image_id": "a.png", "bbox": box} for box in BOXES] + [{"image_id": "broken.png", "bbox": [0, 0, 5, 5]}]
    (folder / "boxes.json").write_text(json.dumps({"images": images}))
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        assert main(["index", "build", *MODEL, "--split", "retrieval", "--out", "index"]) == 0
    return folder


@pytest.fixture
def place(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


class EverySecondUnknown:
    """A promise that knows the first box and the third, and offers two products for the second."""

    def __init__(self) -> None:
        self.number = 0

    def decide(self, evidence: Any) -> Decision:
        self.number += 1
        if self.number == 2:
            return Decision("shortlist", rule="rule 2: a shortlist", members=(1, 2))
        return Decision("product", 0, None, "rule 1: one", (0,)) if self.number % 2 else Decision("unknown", reason="?")

    def as_json(self) -> dict[str, Any]:
        return {"max_wrong": 0.1}


def asked(capsys: pytest.CaptureFixture[str], *words: str, status: int = 1) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["recognise", "shelves", "--index", "index", "--weight", "1", "--k", "1", "--json", *words]) == status
    return json.loads(capsys.readouterr().out)


def rows_of(file: str | Path) -> list[dict[str, str]]:
    with open(file, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_each_box_is_answered_as_the_picture_that_it_is_and_counted(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = asked(capsys, "--boxes", "boxes.json", "--out", "counted")
    shelf, broken = found["photographs"]
    assert broken["error"].startswith("not a JPEG")
    assert [one["id"] for one in shelf["boxes"][:2]] == ["shelves/a.png#0,0,20,18", "shelves/a.png#20,0,20,18"]
    assert [one["answer"]["class"] for one in shelf["boxes"][:4]] == [0, 1, 0, 0]
    assert shelf["boxes"][4]["error"] == "box outside of the picture"
    assert shelf["counts"] == [
        {"class": 0, "name": "class 0", "boxes": 3},
        {"class": 1, "name": "class 1", "boxes": 1},
    ]
    assert (found["unknown"], found["num_groups"], shelf["unknown"]) == (None, 0, 0)
    assert sorted(path.name for path in Path("counted").iterdir()) == ["a.csv", "a.png", "counts.csv"]
    assert [row["kind"] for row in rows_of(shelf["table"])] == ["product"] * 4 + ["outside"]
    assert [row["boxes"] for row in rows_of("counted/counts.csv")] == ["3", "1"]
    # Alone, the same pixels get the same answer; nothing was overwritten.
    capsys.readouterr()
    words = ["pictures/retrieval_3.png", "--index", "index", "--weight", "1", "--k", "1", "--json"]
    assert main(["recognise", *words]) == 0
    [alone] = json.loads(capsys.readouterr().out)
    assert alone["candidates"][0]["score"] == pytest.approx(shelf["boxes"][3]["candidates"][0]["score"], abs=1e-5)
    assert asked(capsys, "--boxes", "boxes.json", "--out", "counted")["folder"] == "counted_2"


def test_unknown_boxes_are_groups_that_become_products_of_the_index(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shelfmark.pipelines.shelves.promise_for", lambda *_: EverySecondUnknown())
    shelf, _ = asked(capsys, "--boxes", "boxes.json", "--out", "grouped")["photographs"]
    assert [one.get("answer", {}).get("kind") for one in shelf["boxes"]] == [
        *("product", "shortlist", "product", "unknown"),
        None,
    ]
    assert [one["group"] for one in shelf["boxes"]] == [None, None, None, 1, None]
    rows = rows_of(shelf["table"])
    assert rows[1]["name"] == "class 1; class 2"
    assert [rows[3][column] for column in ("kind", "class", "name", "probability")] == ["unknown", "", "", ""]
    assert float(rows[0]["probability"]) > 0
    assert Path(shelf["picture"]).is_file()
    table = read_annotations(Path("grouped/unknown.json"), Path("shelves"))
    assert (table.labels.tolist(), table.boxes.tolist()) == ([3], [BOXES[3]])
    assert table.class_names == ("class 0", "class 1", "class 2", "new 1")
    assert cv2.imread("grouped/unknown_1.jpg").shape == (128, 128, 3)
    Path("named.json").write_text(Path("grouped/unknown.json").read_text().replace("new 1", "a new tea"))
    capsys.readouterr()
    assert main(["index", "add", "--index", "index", "--annotations", "named.json", "data.root=shelves"]) == 0
    monkeypatch.undo()
    monkeypatch.chdir(place)
    words = ["search", "pictures/retrieval_3.png", "--index", "index", "--k", "2", "--json"]
    capsys.readouterr()
    assert main(words) == 0
    near = json.loads(capsys.readouterr().out)[0]["neighbours"]
    assert {"a new tea", "class 0"} == {one["name"] for one in near}
    assert [one["bbox"] for one in near if one["name"] == "a new tea"] == [BOXES[3]]
    assert main(["index", "remove", "--index", "index", "--labels", "3"]) == 0


def test_what_to_do_with_unknown_boxes_is_told_last(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shelfmark.pipelines.shelves.promise_for", lambda *_: EverySecondUnknown())
    words = ["--weight", "1", "--k", "1", "--boxes", "boxes.json", "--out", "told"]
    assert main(["recognise", "shelves", "--index", "index", *words]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("  ")
    assert "index add --index index --annotations told/unknown.json data.root=" in lines[-1]
    assert "1 unknown box in 1 group" in lines[-2]


def test_a_photograph_may_have_the_name_of_another_file_of_the_folder(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("odd").mkdir()
    for name in ("counts.png", "counts.jpg"):
        Image.open("shelves/a.png").save(f"odd/{name}")
    Path("odd/boxes.json").write_text(
        json.dumps({"images": [{"image_id": f"counts.{form}", "bbox": BOXES[0]} for form in ("png", "jpg")]})
    )
    words = ["--index", "index", "--weight", "1", "--k", "1", "--boxes", "odd/boxes.json", "--out", "odd/out"]
    assert main(["recognise", "odd/counts.png", "odd/counts.jpg", *words]) == 0
    assert sorted(path.name for path in Path("odd/out").iterdir()) == [
        *("counts.csv", "counts_2.csv", "counts_2.png", "counts_3.csv", "counts_3.png")
    ]
    assert set(rows_of("odd/out/counts.csv")[0]) == {"photograph", "class", "name", "boxes"}


def test_a_detector_of_the_working_folder_finds_the_boxes(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("halves.py").write_text(
        "def detect(image):\n"
        "    height, width = image.shape[:2]\n"
        "    half = width / 2\n"
        "    boxes = [[-5, 0, half + 5, height], [half, 0, half + 9, height], [0, 0, 9, 9], [width, 0, 9, 9]]\n"
        "    return boxes, [0.9, 0.8, 0.4, 0.7]\n"
    )
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(place))])
    found = asked(capsys, "--detector", "halves:detect")
    boxes = found["photographs"][0]["boxes"]
    assert [(one["bbox"], one["box_score"]) for one in boxes] == [([0, 0, 40, 18], 0.9), ([40, 0, 40, 18], 0.8)]
    assert found["folder"].endswith("log/run/shelves")
    assert len(found["photographs"]) == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--detector", "halves"], "give a Python function as package.module:name"),
        (["--detector", "no_such_module:detect"], "the module no_such_module cannot be imported"),
        (["--detector", "json:no_such_name"], "json has no function no_such_name"),
        (["--detector", "json:dumps", "--min-score", "2"], "--min-score 2 must lie in 0..1"),
        (["--detector", "json:dumps"], "json:dumps failed on shelves/a.png: TypeError"),
        (["--detector", "json:dumps", "--boxes", "boxes.json"], "give one of them"),
        (["--boxes", "boxes.json", "--explain"], "give one of them"),
        (["--boxes", "val.json"], "val.json has no box"),
        (["--out", "somewhere"], "--out is the folder for the pictures of --explain"),
    ],
)
def test_what_finds_no_boxes_is_told(
    place: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in place.iterdir())
    assert told in refusal(["recognise", "shelves", "--index", "index", *words], capsys)
    assert sorted(path.name for path in place.iterdir()) == before


def test_boxes_of_other_photographs_are_told_with_the_folders_that_were_tried(place: Path) -> None:
    finder = ListedBoxes.of(Path("boxes.json"), [Path("pictures")])
    with pytest.raises(UserError, match="has no box of pictures/val_0.png") as told:
        finder.asked([Path("pictures/val_0.png")])
    assert f"paths such as a.png; tried as their folder: {place}, {place / 'pictures'}. If" in str(told.value)
    assert "add data.root=FOLDER" in str(told.value)


def test_paths_in_a_file_of_boxes_start_at_its_own_folder_or_at_the_root_that_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photo, record = Path("set/test/000.jpg"), {"image_id": "test/000.jpg", "bbox": [1, 2, 3, 4]}
    for file in (Path("set/test.json"), Path("lists/test.json")):
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"images": [record]}))
    assert ListedBoxes.of(Path("set/test.json"), [photo]).asked([photo]) == [photo]
    with pytest.raises(UserError, match="has no box"):
        ListedBoxes.of(Path("lists/test.json"), [photo]).asked([photo])
    finder = ListedBoxes.of(Path("lists/test.json"), [photo], "set")
    assert finder.find(photo, np.empty(0)).boxes.tolist() == [[1, 2, 3, 4]]
    with pytest.raises(UserError, match="folder: elsewhere .there is no such folder.. If"):
        ListedBoxes.of(Path("set/test.json"), [photo], "elsewhere").asked([photo])


def test_a_typed_root_is_where_the_boxes_of_the_command_start(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["recognise", "shelves", "--index", "index", "--boxes", "boxes.json", "data.root=pictures"]
    assert "tried as their folder: pictures." in refusal(words, capsys)


def detector(gives: Callable[[np.ndarray], Any]) -> Detector:
    return Detector("mine:detect", gives)


@pytest.mark.parametrize(
    ("gives", "told"),
    [
        (None, "must be detect"),
        (([[1, 2, 3]], [0.5]), r"boxes of \(1, 3\)"),
        (([[1, 2, 3, 4]], [0.5, 0.5]), r"scores of \(2,\)"),
        (([[1, 2, float("nan"), 4]], [0.5]), "NaN or infinity"),
        ((["box"], [0.5]), "must be detect"),
    ],
)
def test_what_a_detector_gives_is_checked(gives: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        detector(lambda _: gives).find(Path("a.jpg"), np.zeros((9, 9, 3), np.uint8))


def test_a_detector_may_find_nothing() -> None:
    found = detector(lambda _: ([], [])).find(Path("a.jpg"), np.zeros((9, 9, 3), np.uint8))
    assert (found.boxes.shape, found.scores.shape) == ((0, 4), (0,))


@pytest.mark.slow
def test_the_example_for_torchvision_reads_weights_and_detects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import detection

    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    torch.manual_seed(0)
    model = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=2)
    # A box head that calls everything a pack.
    torch.nn.init.constant_(model.roi_heads.box_predictor.cls_score.bias[1:], 9.0)
    torch.save(model.state_dict(), tmp_path / "detector.pt")
    monkeypatch.setenv("DETECTOR", name)
    monkeypatch.setenv("DETECTOR_WEIGHTS", str(tmp_path / "detector.pt"))
    monkeypatch.chdir(Path(__file__).parents[2] / "examples")
    found = Detector.of("torchvision_detector:detect").find(Path("a.jpg"), np.full((60, 90, 3), 200, np.uint8))
    assert len(found.boxes)
    assert ((found.boxes[:, :2] + found.boxes[:, 2:]) <= [90, 60]).all()
    assert found.scores.min() > 0.5
