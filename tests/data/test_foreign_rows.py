"""CSV, Parquet, COCO and lists of other programs become annotations that say the same, or an error that says where."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shelfmark.core.errors import UserError
from shelfmark.data.annotations import read_annotations, read_test_set
from shelfmark.data.converters.coco import prepare_coco
from shelfmark.data.converters.list_rows import prepare_list
from shelfmark.data.converters.plain_numbers import number_of, whole_of
from shelfmark.data.converters.prepared import Prepared
from shelfmark.data.converters.table_rows import parsed_columns, prepare_csv, prepare_parquet
from shelfmark.data.table import Table


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def pictures(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def read(prepared: Prepared, part: str) -> Table:
    return read_annotations(Path(prepared.options[f"data.{part}_json"]), Path(prepared.options["data.root"]))


def rows_of(table: Table) -> list[tuple[str, str, list[float] | None]]:
    names = table.class_names or ()
    boxes = [None] * len(table) if table.boxes is None else table.boxes.tolist()
    return [
        (path, names[label], None if box is None or np.isnan(box[0]) else box)
        for path, label, box in zip(table.paths, table.labels.tolist(), boxes)
    ]


CSV = """Photo;SKU;left;top;w;h;Split
a.jpg;0012;1;2;3.5;4;train
a.jpg;12;10;2;3;4;Training
"b; ""c"".jpg";0012;;;;;valid
d.jpg;12;;;;;val
"""
COLUMNS = ("fpath=Photo", "label=SKU", "bbox=left,top,w,h", "part=Split")


def test_a_table_keeps_its_ids_as_text_and_its_boxes(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    pictures(root, "a.jpg", 'b; "c".jpg', "d.jpg")
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode())
    prepared = prepare_csv(tmp_path / "t.csv", tmp_path / "out", images=root, columns=COLUMNS)
    train = [("a.jpg", "0012", [1, 2, 3.5, 4]), ("a.jpg", "12", [10, 2, 3, 4])]
    assert rows_of(read(prepared, "train")) == train
    assert rows_of(read(prepared, "val")) == [('b; "c".jpg', "0012", None), ("d.jpg", "12", None)]
    assert read(prepared, "train").class_names == ("0012", "12")
    assert any("'0012' and '12' differ by" in one for one in prepared.warnings)


def test_a_parquet_table_gives_what_its_csv_gives_and_is_written_as_parquet(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", 'b; "c".jpg', "d.jpg")
    table = pa.table(
        {
            "Photo": ["a.jpg", "a.jpg", 'b; "c".jpg', "d.jpg"],
            "SKU": ["0012", "12", "0012", "12"],
            "box": [[1, 2, 3.5, 4], [10, 2, 3, 4], None, None],
            "part": ["train", "train", "val", "val"],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    columns = ("fpath=Photo", "label=SKU", "bbox=box")
    prepared = prepare_parquet(tmp_path / "t.parquet", tmp_path / "out", columns=columns, form="parquet")
    assert str(prepared.options["data.train_json"]).endswith("train.parquet")
    assert rows_of(read(prepared, "train")) == [("a.jpg", "0012", [1, 2, 3.5, 4]), ("a.jpg", "12", [10, 2, 3, 4])]
    whole = pa.table(
        {"fpath": ["a.jpg", "d.jpg"] * 2, "label": pa.array([7, 10] * 2), "part": ["train"] * 2 + ["val"] * 2}
    )
    pq.write_table(whole.slice(0, 2), tmp_path / "n.parquet")
    prepared = prepare_parquet(tmp_path / "n.parquet", tmp_path / "numbers")
    assert read(prepared, "train").class_names == ("7", "10")
    pq.write_table(pa.table({"fpath": ["a.jpg"], "label": [12.0]}), tmp_path / "f.parquet")
    with pytest.raises(UserError, match="'label' has numbers with a decimal point, which name nothing"):
        prepare_parquet(tmp_path / "f.parquet", tmp_path / "f")


def test_rows_without_parts_are_divided_by_pictures_and_every_class_keeps_one(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(40)]
    pictures(tmp_path, *names)
    lines = [f"{name},{label},{label * 10} 0 5 5" for number, name in enumerate(names) for label in (number % 4, 4)]
    (tmp_path / "t.csv").write_text("fpath,label,bbox\n" + "\n".join(lines))
    prepared = prepare_csv(tmp_path / "t.csv", tmp_path / "out", val_fraction=0.3, seed=1)
    train, val = read(prepared, "train"), read(prepared, "val")
    assert len(train) + len(val) == 80
    assert not set(train.paths) & set(val.paths)
    assert len(val) == 24
    assert (train.counts > 0).all()
    again = prepare_csv(tmp_path / "t.csv", tmp_path / "again", val_fraction=0.3, seed=1)
    assert list(read(again, "val").paths) == list(val.paths)


def test_corners_become_boxes_and_further_columns_come_along(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    text = 'fpath,label,xyxy,part,group,weight,image_id\na.jpg,x,"[1, 2, 4, 8]",train,g,0.5,007\nb.jpg,x,,val,g,,\n'
    (tmp_path / "t.csv").write_text(text)
    prepared = prepare_csv(tmp_path / "t.csv", tmp_path / "out", columns=["corners=xyxy"])
    train = read(prepared, "train")
    assert train.boxes is not None
    assert train.weights is not None
    assert (train.boxes.tolist(), train.weights.tolist(), list(train.image_ids)) == ([[1, 2, 3, 6]], [0.5], ["007"])
    assert train.groups == ("g",)


NO_BOXES = ("[]", ",", "1,,2,3,4", "[1,2,3,4", "[[1,2,3,4]]", "[1,2,3,4)", "1 2 3 1e999", "1_0 2 3 4", "None")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "fpath,label\na.jpg,x,y\n",
            r"record 0: row with another number of cells: 3 .* has 2.*at byte 12",
        ),
        ("fpath,label\na.jpg,\n", "record 0: missing field: the label is empty"),
        ("fpath,label\na.jpg,x\nb.jpg,x\n", "record 1: missing file: .*b.jpg.*, at byte 20"),
        (
            "fpath,label\na.jpg,x\na.jpg,y\n",
            "duplicate path with two labels: label='y', but record 0 has 'x'",
        ),
        ("fpath,label,bbox\na.jpg,x,1 2 3\n", "record 0: not a box: bbox='1 2 3', wanted four numbers"),
        (
            "fpath,label,bbox\na.jpg,x,1 2 3 nan\n",
            "record 0: not a box: bbox='1 2 3 nan', .*: height: 'nan' is not a finite number",
        ),
        ("fpath,label,bbox\na.jpg,x,1_0 2 3 4\n", "record 0: not a box: .*: x: '1_0' is not a plain number"),
        ('fpath,label,bbox\na.jpg,x,"[1,2,3"\n', "record 0: not a box: .*: its brackets do not match"),
        (
            "fpath,label,corners\na.jpg,x,1 2\n",
            "corners='1 2', wanted four numbers, left, top, right, bottom: it has 2 parts",
        ),
        ("fpath,label,bbox\na.jpg,x,1 2 1e7 3\n", "record 0: not a box: .*: a number is not below 10,000,000"),
        ("fpath,label,bbox\na.jpg,x,1 2 0 3\n", r"record 0: not a box: bbox=\[1.0,2.0,0.0,3.0\]"),
        *((f'fpath,label,bbox\na.jpg,x,"{box}"\n', "record 0: not a box") for box in NO_BOXES),
        ("fpath,label,part\na.jpg,x,holdout\n", "record 0: wrong type: part='holdout', wanted train, val or test"),
        ("fpath,label,weight\na.jpg,x,-1\n", "record 0: weight out of range"),
        ("fpath,label,group\na.jpg,x,g\na.jpg,x,h\n", "record 1: class in two groups"),
        ('fpath,label\n"a"b.jpg,x\n', r"line 2, before byte \d+: no CSV"),
        ("fpath,fpath\na,b\n", "column 'fpath' twice"),
        ("path,label\na,b\n", r"no column 'fpath'.*--columns fpath=NAME.*'path', 'label'"),
        ("fpath,label\n", "a header and no rows"),
        ("", "is empty"),
        ("fpath,label\na.jpg,cola\na.jpg, cola\n", "'  ?cola' and|label=' cola'"),
    ],
)
def test_a_wrong_table_is_refused_with_the_row_and_its_byte(text: str, message: str, tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        prepare_csv(tmp_path / "t.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_each_cell_that_keeps_a_box_from_being_one_is_told_by_its_column(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    (tmp_path / "t.csv").write_text("fpath,label,x,y,w,h\na.jpg,tea,1,,inf,\n")
    with pytest.raises(UserError) as told:
        prepare_csv(tmp_path / "t.csv", tmp_path / "out", columns=["bbox=x,y,w,h"])
    why = "y: nothing stands there; w: 'inf' is not a finite number; h: nothing stands there"
    assert f"not a box: bbox='1,,inf,', wanted four numbers, x, y, width, height: {why} (a.jpg)" in str(told.value)


def test_a_row_with_another_number_of_cells_has_this_finding_alone(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    rows = ("a.jpg,x,train,g,1 2 3 4", "a.jpg,x,train,g", "a.jpg,x,train,g,1 2 3 4,5", ",,train,h,")
    (tmp_path / "t.csv").write_text("\n".join(["fpath,label,part,group,bbox", *rows]))
    with pytest.raises(UserError) as told:
        prepare_csv(tmp_path / "t.csv", tmp_path / "out")
    lines = str(told.value).splitlines()
    assert "4 findings in 4 records" in lines[0]
    shown = [line.split(": ")[:2] for line in lines if line.startswith("  record ")]
    kinds = ["row with another number of cells"] * 2 + ["missing field"] * 2
    assert shown == [[f"  record {row}", kind] for row, kind in zip((1, 2, 3, 3), kinds)]


def test_the_line_of_a_row_is_that_of_an_editor_also_behind_breaks_in_quotes_and_empty_lines(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    text = 'fpath,label,note\r\na.jpg,x,"one\r\ntwo\nthree"\r\n\r\ngone.jpg,x,"four\nfive"\r\nlost.jpg,x,'
    (tmp_path / "t.csv").write_bytes(text.encode())
    with pytest.raises(UserError) as told:
        prepare_csv(tmp_path / "t.csv", tmp_path / "out")
    for row, name in ((1, "gone.jpg"), (2, "lost.jpg")):
        place = text.index(name)
        line = text.count("\n", 0, place) + 1
        assert f"record {row}: missing file: {tmp_path}/{name}, line {line}, at byte {place}" in str(told.value)
    with open("log/findings/t.findings.csv", encoding="utf-8", newline="") as stream:
        assert [row["line"] for row in csv.DictReader(stream)] == ["6", "8"]


def test_a_table_in_another_encoding_is_refused_with_the_line_and_the_byte(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("fpath,label\ncafé.jpg,x\n".encode("latin-1"))
    with pytest.raises(UserError, match="line 2, byte 15: the file is not UTF-8"):
        prepare_csv(tmp_path / "t.csv", tmp_path / "out")


def test_boxes_are_read_in_each_way_to_write_four_numbers(tmp_path: Path) -> None:
    texts = ("1 2 3.5 4", "[1, 2, 3.5, 4]", "(1;2;3.5;4)", " 1,2 ,3.5, 4 ", "1\t2\t3.5\t4")
    names = [f"{row}.jpg" for row in range(len(texts) + 1)]
    pictures(tmp_path, *names)
    lines = [f'{name},x,"{text}"' for name, text in zip(names, (*texts, " "))]
    (tmp_path / "t.csv").write_text("fpath,label,bbox\n" + "\n".join(lines))
    prepared = prepare_csv(tmp_path / "t.csv", tmp_path / "out", val_fraction=0.5)
    rows = sorted(rows_of(read(prepared, "train")) + rows_of(read(prepared, "val")))
    assert rows == [(name, "x", [1, 2, 3.5, 4]) for name in names[:-1]] + [(names[-1], "x", None)]


def test_members_of_objects_are_columns_and_what_names_nothing_is_refused(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    table = {
        "fpath": pa.array(["a.jpg", "b.jpg"]).dictionary_encode(),
        "label": pa.array([7, 7]).dictionary_encode(),
        "found": [{"x": 1, "y": 2, "w": 3.5, "h": 4, "name": "0012"}, None],
        "tags": [["0012"], ["0012"]],
    }
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    columns = ("bbox=found.x,found.y,found.w,found.h",)
    prepared = prepare_parquet(tmp_path / "t.parquet", tmp_path / "out", columns=columns, val_fraction=0.5)
    rows = sorted(rows_of(read(prepared, "train")) + rows_of(read(prepared, "val")))
    assert rows == [("a.jpg", "7", [1, 2, 3.5, 4]), ("b.jpg", "7", None)]
    for label, what in (("found", "lists or objects"), ("tags", "lists or objects"), ("found.w", "a decimal point")):
        with pytest.raises(UserError, match=f"'{label}' has .*{what}, which name nothing"):
            prepare_parquet(tmp_path / "t.parquet", tmp_path / "no", columns=(*columns, f"label={label}"))


def test_columns_that_nothing_has_are_told_with_those_that_are_near() -> None:
    assert parsed_columns(["fpath=a=b", "label=c"]) == {"fpath": "a=b", "label": "c"}
    for wrong in ("fpat=a", "fpath", "fpath="):
        with pytest.raises(UserError, match="give each as OURS=THEIRS"):
            parsed_columns([wrong])
    with pytest.raises(UserError, match="give one of the two"):
        parsed_columns(["bbox=a", "corners=b"])


def test_only_plain_numbers_are_numbers() -> None:
    assert [number_of(text) for text in ("1", "-2.5", ".5", "1e3", " 7 ")] == [1, -2.5, 0.5, 1000, 7]
    assert [number_of(text) for text in ("nan", "inf", "1e999", "2\x1d", "1_0", "1,5", "0x1", "", "٤")] == [None] * 9
    assert [whole_of(text) for text in ("7", "-1", " 0012 ", "1.0", "1_0", "", "٤")] == [
        7,
        -1,
        12,
        None,
        None,
        None,
        None,
    ]


COCO: dict[str, Any] = {
    "info": {"year": 2026},
    "images": [
        {"id": 1, "file_name": "a.jpg", "width": 100, "height": 50},
        {"id": "1", "file_name": "b.jpg"},
        {"id": 3, "file_name": "lonely.jpg"},
    ],
    "annotations": [
        {"id": 70, "image_id": 1, "category_id": 18, "bbox": [0, 0, 10.5, 20], "area": 1},
        {"id": 71, "image_id": "1", "category_id": 18, "bbox": [5, 5, 10, 10]},
        {"id": 72, "image_id": 1, "category_id": 2, "bbox": [90, 40, 50, 60], "iscrowd": 0},
        {"id": 73, "image_id": 1, "category_id": 2, "bbox": [0, 0, 5, 0]},
        {"id": 74, "image_id": 1, "category_id": 2, "bbox": [0, 0, 5, 5], "iscrowd": 1},
        {"id": 75, "image_id": "1", "category_id": 2, "bbox": [1, 1, 2, 2]},
    ],
    "categories": [
        {"id": 18, "name": "cola", "supercategory": "drink"},
        {"id": 2, "name": "0012", "supercategory": "drink"},
    ],
}


def test_coco_becomes_a_record_for_each_box(tmp_path: Path) -> None:
    pictures(tmp_path / "i", "a.jpg", "b.jpg", "lonely.jpg")
    (tmp_path / "c.json").write_text(json.dumps(COCO))
    prepared = prepare_coco(tmp_path / "c.json", tmp_path / "out", images=tmp_path / "i", val_fraction=0.5)
    train, val = read(prepared, "train"), read(prepared, "val")
    assert train.class_names == ("0012", "cola")
    assert train.groups == ("drink", "drink")
    found = {one: row for table in (train, val) for one, row in zip(table.image_ids, rows_of(table))}
    assert found == {
        "70": ("a.jpg", "cola", [0, 0, 10.5, 20]),
        "71": ("b.jpg", "cola", [5, 5, 10, 10]),
        "72": ("a.jpg", "0012", [90, 40, 10, 10]),
        "75": ("b.jpg", "0012", [1, 1, 2, 2]),
    }
    told = "\n".join(prepared.notes)
    for words in ("1 annotation left out: a crowd", "1 annotation left out: the box has no area", "1 annotation cut"):
        assert words in told
    assert "1 picture without an annotation left out" in told
    place = (tmp_path / "c.json").read_bytes().index(b'{"id": 72')
    assert f"the first is record 2, at byte {place:,}" in told


def test_the_parts_of_cocos_own_folder_are_kept(tmp_path: Path) -> None:
    for part in ("train2017", "val2017"):
        pictures(tmp_path, f"{part}/a.jpg", f"{part}/b.jpg", f"{part}/lonely.jpg")
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / f"instances_{part}.json").write_text(json.dumps(COCO))
    prepared = prepare_coco(tmp_path, tmp_path / "out")
    assert set(read(prepared, "train").paths) == {"train2017/a.jpg", "train2017/b.jpg"}
    assert set(read(prepared, "val").paths) == {"val2017/a.jpg", "val2017/b.jpg"}


def test_a_picture_of_size_0_has_no_size_and_an_absolute_name_stays(tmp_path: Path) -> None:
    pictures(tmp_path, "train/a.jpg", "train/b.jpg")
    images = [{"id": 1, "file_name": str(tmp_path / "train/a.jpg"), "width": 0, "height": 0}]
    records = [{"id": row, "image_id": row, "category_id": 2, "bbox": [5, 6, 7, 8]} for row in (1, 2)]
    change = {"images": [*images, {"id": 2, "file_name": "b.jpg"}], "annotations": records}
    (tmp_path / "train" / "_annotations.coco.json").write_text(json.dumps(COCO | change))
    prepared = prepare_coco(tmp_path, tmp_path / "out", val_fraction=0.5)
    rows = sorted(rows_of(read(prepared, "train")) + rows_of(read(prepared, "val")))
    box = [5, 6, 7, 8]
    assert rows == [(str(tmp_path / "train/a.jpg"), "0012", box), ("train/b.jpg", "0012", box)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"annotations": [{"id": 1, "image_id": 9, "category_id": 2}]},
            "(?s)in 1 record of `annotations` .*record 0: id of nothing: image_id=9 is the id of no picture, at byte",
        ),
        ({"annotations": [{"id": 1, "image_id": 1, "category_id": "2"}]}, 'category_id="2" is of no category'),
        ({"annotations": [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 2]}]}, "record 0: not a box"),
        ({"annotations": [{"id": 1, "image_id": 1.0, "category_id": 2}]}, "record 0: wrong type: image_id=1.0"),
        (
            {"images": [{"id": 1, "file_name": "a.jpg"}] * 2},
            "(?s)in 2 records of `images` .*record 1: id that stands twice: id=1",
        ),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "category 1 .*further up"),
        ({"categories": [{"id": 1, "name": " "}]}, "category 0 .* must have an id and a name"),
        ({"images": [{"id": 1, "file_name": "a.jpg", "width": -1}]}, "record 0: wrong type: width=-1, wanted a number"),
        ({"info": {"a": {"year": 1}, "b": [{"year": 1, "url": ":"}]}, "images": []}, "'images' is empty"),
        ({"categories": None}, "no list of categories"),
        ({"images": []}, "'images' is empty"),
    ],
)
def test_wrong_coco_is_refused_with_the_record_and_its_byte(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg", "lonely.jpg")
    (tmp_path / "c.json").write_text(json.dumps(COCO | change))
    with pytest.raises(UserError, match=message):
        prepare_coco(tmp_path / "c.json", tmp_path / "out")


def test_records_of_coco_keep_their_numbers_where_others_are_left_out(tmp_path: Path) -> None:
    pictures(tmp_path, "b.jpg")
    crowd = {"id": 69, "image_id": 1, "category_id": 2, "bbox": [0, 0, 5, 5], "iscrowd": 1}
    annotations = [crowd, *COCO["annotations"][:2], COCO["annotations"][1] | {"category_id": 2}]
    (tmp_path / "c.json").write_text(json.dumps(COCO | {"annotations": annotations}))
    with pytest.raises(UserError) as told:
        prepare_coco(tmp_path / "c.json", tmp_path / "out")
    place = (tmp_path / "c.json").read_bytes().index(b'{"id": 70')
    assert "2 findings in 4 records of `annotations` (counted from 0)" in str(told.value)
    assert f"record 1: missing file: {tmp_path}/a.jpg, at byte {place:,}" in str(told.value)
    assert "record 3: duplicate path with two labels: label='0012', but record 2 has 'cola'" in str(told.value)
    with open("log/findings/c.findings.csv", encoding="utf-8", newline="") as stream:
        first = next(csv.DictReader(stream))
    assert (first["index"], first["list"], first["byte"]) == ("1", "annotations", str(place))


def test_a_list_keeps_blanks_in_paths_and_labels_as_text(tmp_path: Path) -> None:
    pictures(tmp_path, "a b.jpg", "c.jpg", "d.jpg")
    (tmp_path / "train.txt").write_text("a b.jpg 007\nc.jpg\tcola light\n\n")
    (tmp_path / "val.txt").write_text("d.jpg 007\n")
    (tmp_path / "test.txt").write_text("d.jpg\nc.jpg\n")
    prepared = prepare_list(tmp_path, tmp_path / "out")
    assert rows_of(read(prepared, "train")) == [("a b.jpg", "007", None), ("c.jpg", "cola light", None)]
    assert rows_of(read(prepared, "val")) == [("d.jpg", "007", None)]
    assert list(read_test_set(Path(prepared.options["data.test_json"]), tmp_path).paths) == ["d.jpg", "c.jpg"]
    (tmp_path / "train.txt").write_text("a b.jpg 007\nc.jpg\n")
    with pytest.raises(UserError, match=r"record 1: missing field: no label in 'c.jpg'.*, line 2, at byte 12"):
        prepare_list(tmp_path, tmp_path / "again")


def test_where_no_file_is_there_the_folder_that_was_taken_is_named_and_the_option_that_gives_another(
    tmp_path: Path,
) -> None:
    lists = tmp_path / "lists"
    pictures(tmp_path / "photos", "a.jpg", "b.jpg")
    lists.mkdir()
    (lists / "t.csv").write_text("fpath,label\na.jpg,tea\nb.jpg,rice\n")
    with pytest.raises(UserError) as told:
        prepare_csv(lists / "t.csv", tmp_path / "out")
    last = str(told.value).splitlines()[-1]
    assert f"Without --images paths start from {lists};" in last
    assert "as --images DIR" in last
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError) as told:
        prepare_csv(lists / "t.csv", tmp_path / "out", images=tmp_path / "other")
    assert f"so --images {tmp_path / 'other'} is most likely the wrong folder" in str(told.value)
    # Options of a run are no options of prepare.
    (lists / "t.csv").write_text("fpath,label\n../a.jpg,tea\n/b.jpg,rice\n")
    with pytest.raises(UserError) as told:
        prepare_csv(lists / "t.csv", tmp_path / "out", images=tmp_path / "photos")
    assert f"every image must lie in {tmp_path / 'photos'}" in str(told.value)
    assert "data." not in str(told.value)
