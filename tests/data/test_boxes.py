"""Boxes: read strictly, carried with their rows, and counted as records of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from shelfmark.core.errors import UserError
from shelfmark.data.annotations import read_annotations, read_test_set
from shelfmark.data.boxes import NOT_INSIDE, Crop, box_texts
from shelfmark.data.holdout import hold_out, leaked_rows
from shelfmark.data.identity import record_numbers
from shelfmark.data.lists import apply_lists
from shelfmark.data.table import Table
from shelfmark.data.union import union

SHELF = [
    {"category_id": 0, "fpath": "shelf.jpg", "bbox": [10, 20, 30, 40]},
    {"category_id": 1, "fpath": "shelf.jpg", "bbox": [50.5, 20, 30, 40.25]},
    {"category_id": 1, "fpath": "one.jpg"},
]


def read(folder: Path, records: list[dict], name: str = "train.json") -> Table:
    for record in records:
        (folder / record["fpath"]).touch()
    file = folder / name
    file.write_text(json.dumps({"annotations": records, "num_classes": 3}), encoding="utf-8")
    return read_annotations(file, folder, findings_folder=folder / "findings")


def test_boxes_become_a_column_and_name_their_records(tmp_path: Path) -> None:
    table = read(tmp_path, SHELF)
    assert table.boxes is not None
    assert table.boxes.dtype == np.float32
    assert table.boxes[:2].tolist() == [[10, 20, 30, 40], [50.5, 20, 30, 40.25]]
    assert np.isnan(table.boxes[2]).all()
    assert list(table.image_ids) == ["shelf.jpg#10,20,30,40", "shelf.jpg#50.5,20,30,40.25", "one.jpg"]
    assert table.take([1]).boxes.tolist() == [[50.5, 20, 30, 40.25]]
    assert read(tmp_path, [{"category_id": 0, "fpath": "one.jpg", "bbox": None}]).boxes is None


@pytest.mark.parametrize(
    "box",
    [
        *("1,2,3,4", {"x": 1}, [], [1, 2, 3], [1, 2, 3, 4, 5], [1, 2, "3", 4], [1, 2, True, 4], [1, 2, 3, None]),
        *([1, 2, 0, 4], [1, 2, 3, -4], [1, 2, 1e-60, 4], [1, 2, 3, 1e400], [10**400, 2, 3, 4], [-2, 0, 9, 9]),
    ],
)
def test_a_box_that_is_none_is_refused_with_its_record(box: object, tmp_path: Path) -> None:
    records = [SHELF[0], {"category_id": 1, "fpath": "shelf.jpg", "bbox": box}]
    (tmp_path / "shelf.jpg").touch()
    text = json.dumps({"annotations": records, "num_classes": 3}).replace("Infinity", "1e400")
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(UserError, match=r"record 1: .*bbox=|not valid JSON"):
        read_annotations(tmp_path / "train.json", tmp_path, findings_folder=tmp_path)


def test_a_box_may_reach_over_the_edge_by_rounding_alone() -> None:
    down, across = Crop(-0.4, 10, 50.8, 30.6).slices((50, 40))
    assert (down, across) == (slice(10, 40), slice(0, 50))
    for box in [(0, 0, 52, 10), (-3, 0, 10, 10), (0, 35, 5, 9), (50, 0, 1, 1), (0, 0, 1, 50)]:
        with pytest.raises(ValueError, match=NOT_INSIDE):
            Crop(*box).slices((50, 40))


def test_a_margin_is_a_share_of_the_sides_and_ends_at_the_edge() -> None:
    assert Crop(20, 10, 10, 20, margin=0.1).slices((100, 100)) == (slice(8, 32), slice(19, 31))
    assert Crop(0, 10, 10, 20, margin=1.0).slices((100, 40)) == (slice(0, 40), slice(0, 20))


def test_a_crop_of_a_picture_decoded_at_half_size_is_half_as_large_and_never_empty() -> None:
    assert Crop(20, 10, 10, 20).slices((101, 81), decoded=(51, 41)) == (slice(5, 15), slice(10, 15))
    assert Crop(99.9, 0.2, 0.1, 0.1).slices((100, 100), decoded=(13, 13)) == (slice(0, 1), slice(12, 13))


def test_two_boxes_of_a_picture_are_two_records_and_one_picture(tmp_path: Path) -> None:
    train = read(tmp_path, SHELF)
    numbers = record_numbers(["shelf.jpg", "./shelf.jpg", "shelf.jpg", "one.jpg"], tmp_path, train.boxes[[0, 0, 1, 2]])
    assert numbers.tolist() == [0, 0, 1, 2]
    val = read(tmp_path, [{"category_id": 2, "fpath": "shelf.jpg", "bbox": [0, 0, 5, 5]}], "val.json")
    assert leaked_rows(train, val).tolist() == [0]


def test_boxes_of_one_picture_are_held_out_together(tmp_path: Path) -> None:
    records = [
        {"category_id": picture % 3, "fpath": f"{picture}.jpg", "bbox": [place, 0, 5, 5]}
        for picture in range(30)
        for place in range(4)
    ]
    train, held = hold_out(read(tmp_path, records), fraction=0.3)
    assert len(held)
    assert not set(train.paths) & set(held.paths)
    assert len(train) % 4 == len(held) % 4 == 0


def test_a_union_takes_a_box_once_and_keeps_the_others(tmp_path: Path) -> None:
    first = read(tmp_path, SHELF, "first.json")
    second = read(tmp_path, [SHELF[1], {**SHELF[1], "bbox": [1, 1, 5, 5]}], "second.json")
    whole = read(tmp_path, [{"category_id": 2, "fpath": "whole.jpg"}], "third.json")
    joined = union([first, second, whole], [Path("first.json"), Path("second.json"), Path("third.json")])
    assert list(box_texts(joined.boxes)) == ["#10,20,30,40", "#50.5,20,30,40.25", "", "#1,1,5,5", ""]


def test_lists_name_one_box(tmp_path: Path) -> None:
    table = read(tmp_path, SHELF)
    (tmp_path / "drop.txt").write_text("shelf.jpg#10,20,30,40\n")
    assert list(apply_lists(table, drop=[tmp_path / "drop.txt"]).image_ids) == list(table.image_ids)[1:]
    one_id = read(tmp_path, [{**record, "image_id": "shelf"} for record in SHELF[:2]], "one_id.json")
    (tmp_path / "drop.txt").write_text("shelf\n")
    with pytest.raises(UserError, match="2 images have that image_id"):
        apply_lists(one_id, drop=[tmp_path / "drop.txt"])


def test_one_box_under_two_labels_is_an_error_and_two_boxes_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="duplicate path with two labels"):
        read(tmp_path, [SHELF[0], {**SHELF[0], "category_id": 1}])


def test_a_test_set_may_have_boxes(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    images = [{"image_id": "a.jpg", "bbox": [1, 2, 3, 4]}, {"image_id": "a.jpg", "bbox": [5, 2, 3, 4]}]
    (tmp_path / "test.json").write_text(json.dumps({"images": images}))
    table = read_test_set(tmp_path / "test.json", tmp_path, findings_folder=tmp_path)
    assert list(table.image_ids) == ["a.jpg#1,2,3,4", "a.jpg#5,2,3,4"]
    assert table.boxes[:, 0].tolist() == [1, 5]
