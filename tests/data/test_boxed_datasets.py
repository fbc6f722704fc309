"""Data sets with boxes become records, each of one box of a photograph."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from tiny_pictures import JPEG, encoded

from shelfmark.core.errors import UserError
from shelfmark.data.annotations import read_annotations
from shelfmark.data.converters.boxed_set import Mended, hold_out_photographs
from shelfmark.data.converters.deepfashion2 import prepare_deepfashion2
from shelfmark.data.converters.pictures import Picture
from shelfmark.data.converters.rp2k import prepare_rp2k
from shelfmark.data.converters.sku110k import prepare_sku110k
from shelfmark.data.converters.voc import prepare_voc
from shelfmark.data.converters.yolo import prepare_yolo
from shelfmark.data.table import Table

SHELF = encoded("PNG", size=(100, 60))


def write(root: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def read(prepared, option: str = "data.train_json") -> Table:
    file = prepared.options.get(option) or next(file for file in prepared.files if file.stem == option)
    return read_annotations(file, prepared.options["data.root"], findings_folder=Path(file).parent)


def boxes(table: Table) -> list[tuple[str, str, list[float]]]:
    named = table.class_names or ()
    return [
        (table.paths[row], named[table.labels[row]] if table.labels[row] >= 0 else "", table.boxes[row].tolist())
        for row in range(len(table))
    ]


# Pascal VOC


def voc(name: str, *objects: tuple[str, int, int, int, int], size: tuple[int, int] = (100, 60)) -> str:
    inner = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{left}</xmin><ymin>{upper}</ymin><xmax>{right}</xmax>"
        f"<ymax>{lower}</ymax></bndbox></object>"
        for label, left, upper, right, lower in objects
    )
    of_size = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    return f"<annotation><filename>{name}</filename>{of_size}{inner}</annotation>"


def test_voc_counts_pixels_from_one_and_follows_its_lists(tmp_path: Path) -> None:
    files = {
        "Annotations/a.xml": voc("a.jpg", ("tea", 1, 1, 10, 20), ("rice", 11, 1, 100, 60)),
        "Annotations/b.xml": voc("b.jpg", ("tea", 5, 5, 105, 60), ("rice", 101, 5, 120, 9)),
        "Annotations/c.xml": voc("c.jpg", ("coffee", 2, 2, 3, 3)),
        "Annotations/d.xml": voc("d.jpg"),
        **{f"JPEGImages/{name}.jpg": SHELF for name in "abcd"},
        "ImageSets/Main/train.txt": "a\nd\n",
        "ImageSets/Main/val.txt": "b 1\n",
        "ImageSets/Main/test.txt": "c\n",
    }
    prepared = prepare_voc(write(tmp_path / "voc", files), tmp_path / "out")
    train, val = read(prepared), read(prepared, "data.val_json")
    assert boxes(train) == [
        ("JPEGImages/a.jpg", "tea", [0, 0, 10, 20]),
        ("JPEGImages/a.jpg", "rice", [10, 0, 90, 60]),
    ]
    assert boxes(val) == [("JPEGImages/b.jpg", "tea", [4, 4, 96, 56])]
    assert boxes(read(prepared, "test_labelled")) == [("JPEGImages/c.jpg", "coffee", [1, 1, 2, 2])]
    told = prepared.summary
    assert "1 box left out" in told
    assert "test: 1 class without a training box" in told
    assert "1 photograph without a box, such as d" in told


def test_files_of_a_labelling_program_count_from_zero_and_are_divided_by_photograph(tmp_path: Path) -> None:
    files = {f"{name}.xml": voc(f"C:\\x\\{name}.png", ("tea", 0, 0, 10, 20), ("tea", 9, 9, 20, 20)) for name in "abcde"}
    source = write(tmp_path / "flat", {**files, **{f"{name}.png": SHELF for name in "abcde"}})
    prepared = prepare_voc(source, tmp_path / "out", val_fraction=0.4)
    train, val = read(prepared), read(prepared, "data.val_json")
    assert (len(train), len(val)) == (6, 4)
    assert not set(train.paths) & set(val.paths)
    assert train.boxes[0].tolist() == [0, 0, 10, 20]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"Annotations/a.xml": "<annotation>"}, "is no XML"),
        ({"Annotations/a.xml": voc("a.jpg", ("tea", 1, 1, 2, 2))}, "a.xml is of a.jpg, which is in none of"),
        (
            {"Annotations/a.xml": voc("a.jpg", ("", 1, 1, 2, 2)), "JPEGImages/a.jpg": JPEG},
            "a.xml, object 1 has no name",
        ),
        ({"Annotations/a.xml": voc("a.jpg", ("t", "x", 1, 2, 2)), "JPEGImages/a.jpg": JPEG}, "four numbers"),
        ({"Annotations/a.xml": voc("a.jpg", ("t", "1_0", 1, 20, 2)), "JPEGImages/a.jpg": JPEG}, "four numbers"),
        ({"Annotations/a.xml": voc("a.jpg", ("t", 9, 1, 2, 2)), "JPEGImages/a.jpg": JPEG}, "ends before it begins"),
        ({"b.txt": ""}, "has no XML file"),
    ],
)
def test_what_is_no_voc_is_named(files: dict, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        prepare_voc(write(tmp_path / "voc", files), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [(0, 0), ("", ""), ("wide", 60)])
def test_without_a_size_boxes_end_at_the_edge_that_the_photograph_has(size: tuple, tmp_path: Path) -> None:
    files = {f"{name}.xml": voc(f"{name}.png", ("tea", 51, 31, 300, 300), size=size) for name in "ab"}
    source = write(tmp_path / "flat", {**files, **{f"{name}.png": SHELF for name in "ab"}})
    prepared = prepare_voc(source, tmp_path / "out", val_fraction=0.5)
    assert read(prepared).boxes.tolist() == [[50, 30, 50, 30]]
    assert "2 boxes reached over the edge" in prepared.summary


# YOLO


def test_yolo_boxes_are_shares_of_the_upright_photograph(tmp_path: Path) -> None:
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.new("RGB", (60, 100)).save(stream, "JPEG", exif=exif)
    files = {
        "data.yaml": "names: {0: tea, 1: rice, 2: coffee}\ntrain: ../train/images\nval: val.txt\n",
        "train/images/a.png": SHELF,
        "train/images/lying.jpg": stream.getvalue(),
        "train/images/empty.png": SHELF,
        "train/labels/a.txt": "1 0.5 0.5 0.2 0.5\n0 0.05 0.5 0.2 0.5\n",
        "train/labels/lying.txt": "2 0.1 0.1 0.3 0.1 0.3 0.5 0.1 0.5\n",
        "val/images/b.png": SHELF,
        "val/labels/b.txt": "0 0.5 0.5 1 1 0.93\n",
        "val.txt": "./val/images/b.png\n",
    }
    prepared = prepare_yolo(write(tmp_path / "yolo", files), tmp_path / "out")
    train = read(prepared)
    assert train.class_names == ("tea", "rice", "coffee")
    assert boxes(train) == [
        ("train/images/a.png", "rice", [40, 15, 20, 30]),
        ("train/images/a.png", "tea", [0, 15, 15, 30]),
        ("train/images/lying.jpg", "coffee", [10, 6, 20, 24]),
    ]
    assert boxes(read(prepared, "data.val_json")) == [("val/images/b.png", "tea", [0, 0, 100, 60])]
    assert "1 photograph without a box" in prepared.summary


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("3 0.5 0.5 1 1", "line 1: class 3, and data.yaml has the classes 0 to 0"),
        ("0 0.5 0.5 1", "3 numbers behind the class"),
        ("0 50 50 100 100", "no shares of the picture"),
        ("tea 0.5 0.5 1 1", "is not `class x y width height`: the class 'tea' is not a whole number."),
        ("0 nan 0.5 1 1", "is not `class x y width height`: word 2, 'nan' is not a finite number."),
        ("0 0.5 0.5 0_1 1", "is not `class x y width height`: word 4, '0_1' is not a plain number."),
        ("0.0 0.5 0.5 1 1", "is not `class x y width height`: the class '0.0' is not a whole number."),
        ("1.0 x 0.5 1 inf", "class '1.0' is not a whole number; word 2, 'x' is not .*; word 5, 'inf' is not a finite"),
        ("0 0.5 0.5 -1 1", "a width or height below 0"),
    ],
)
def test_a_wrong_label_line_is_named(line: str, told: str, tmp_path: Path) -> None:
    files = {"data.yaml": "names: [tea]\ntrain: images\n", "images/a.png": SHELF, "labels/a.txt": line}
    with pytest.raises(UserError, match=told):
        prepare_yolo(write(tmp_path / "yolo", files), tmp_path / "out")


def test_all_wrong_lines_of_all_files_are_told_in_one_error_the_first_by_line_and_the_rest_by_number(
    tmp_path: Path,
) -> None:
    sound = "0 0.5 0.5 1 1\n"
    files = {
        "data.yaml": "names: [tea]\ntrain: images\n",
        **{f"images/{name}.png": SHELF for name in "abc"},
        "labels/a.txt": f"{sound}7 0.5 0.5 1 1\n{sound}0 0.5 0.5 1\n0 0.5 0.5 0 1\n",
        "images/b.png": b"no picture",
        "labels/b.txt": sound,
        "labels/c.txt": "tea 0.5 0.5 1 1\n" * 30 + sound,
    }
    source, narrow = write(tmp_path / "yolo", files), "labels/a.txt, line 5"
    with pytest.raises(UserError) as told:
        prepare_yolo(source, tmp_path / "out")
    lines = str(told.value).splitlines()
    assert lines[0] == f"{source}: 33 places are wrong, and nothing was written."
    places = [(f"{source}/labels/a.txt, line {line}" in text) for line, text in zip((2, 4), lines[1:3])]
    assert places == [True, True]
    assert lines[3].startswith(f"  {source}/images/b.png could not be read: not a ")
    assert [f"{source}/labels/c.txt, line {line}: " in text for line, text in enumerate(lines[4:21], start=1)] == (
        [True] * 17
    )
    assert lines[21] == "  and 13 more"
    assert (
        lines[22] == f"  besides, no mistake: 1 box left out, with less than a pixel in the picture: {source}/{narrow}"
    )
    assert lines[23:] == ["Correct or remove what is named here, and run the command again."]
    assert not (tmp_path / "out").exists()


def test_of_voc_all_wrong_objects_and_files_are_told_at_once(tmp_path: Path) -> None:
    files = {
        "Annotations/a.xml": voc("a.jpg", ("tea", 1, 1, 9, 9), ("", 1, 1, 2, 2), ("tea", 9, 1, 2, 2)),
        "Annotations/b.xml": "<annotation>",
        "Annotations/c.xml": voc("c.jpg", ("tea", 1, 1, 9, 9)),
        "JPEGImages/a.jpg": JPEG,
    }
    source = write(tmp_path / "voc", files)
    with pytest.raises(UserError) as told:
        prepare_voc(source, tmp_path / "out")
    lines = str(told.value).splitlines()
    assert "4 places are wrong" in lines[0]
    for line, word in zip(
        lines[1:5], ("a.xml, object 2 has no name", "a.xml, object 3: ", "b.xml is no XML", "c.xml is of c.jpg")
    ):
        assert word in line
    assert not (tmp_path / "out").exists()


def test_boxes_that_were_cut_and_those_left_out_are_each_told_by_their_own_first_place() -> None:
    mended = Mended()
    for where, right in (("whole", 9), ("cut", 200), ("narrow", 0.5), ("narrow too", 0)):
        mended.box((0, 0, right, 9), (100, 60), where)
    assert [note.rpartition(": ")[2] for note in mended.notes()] == ["cut", "narrow"]


@pytest.mark.parametrize("layout", [("images", "labels"), ("train/images", "train/labels"), ("images/x", "images/x")])
def test_names_are_the_text_of_data_yaml_and_labels_lie_in_each_usual_place(
    layout: tuple[str, str], tmp_path: Path
) -> None:
    photographs, labels = layout
    names = "[no, 0012, 1.0, null, 12]"
    files = {"data.yaml": f"nc: 5\nnames: {names}\ntrain: {photographs}\nval:\ntest: null\n"}
    for row, name in enumerate("abcde"):
        files |= {f"{photographs}/{name}.png": SHELF, f"{labels}/{name}.txt": f"{row} 0.5 0.5 0.5 0.5\n"}
    prepared = prepare_yolo(write(tmp_path / "yolo", files), tmp_path / "out", val_fraction=0)
    train = read(prepared)
    assert train.class_names == ("no", "0012", "1.0", "null", "12")
    assert train.labels.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("names: [tea]\nnames: [rice]\ntrain: images\n", "line 2: 'names' stands there twice"),
        ("names: {0: tea, 0: rice}\ntrain: images\n", "line 1: '0' stands there twice"),
        ("names: {0: tea, 2: rice}\ntrain: images\n", "`names` must be a list"),
        ("names: [tea, {a: b}]\ntrain: images\n", "`names` must be a list"),
        ("names: [tea, '']\ntrain: images\n", "`names` must be a list"),
        ("names: [tea, tea]\ntrain: images\n", "two classes have one name"),
        ("nc: 2\nnames: [tea]\ntrain: images\n", "`nc` is 2, but `names` has 1 class"),
        ("names: [tea]\ntrain: 5\n", "names 5, which is not there"),
    ],
)
def test_a_wrong_data_yaml_is_named(content: str, told: str, tmp_path: Path) -> None:
    files = {"data.yaml": content, "images/a.png": SHELF, "labels/a.txt": "0 0.5 0.5 1 1"}
    with pytest.raises(UserError, match=told):
        prepare_yolo(write(tmp_path / "yolo", files), tmp_path / "out")


def test_a_photograph_in_train_and_val_is_refused(tmp_path: Path) -> None:
    files = {
        "data.yaml": "names: [tea]\ntrain: images\nval: images\n",
        "images/a.png": SHELF,
        "labels/a.txt": "0 0.5 0.5 1 1",
    }
    with pytest.raises(UserError, match="1 photograph of val are in train too, such as images/a.png"):
        prepare_yolo(write(tmp_path / "yolo", files), tmp_path / "out")


# RP2K, SKU-110K, DeepFashion2


def test_rp2k_is_folders_of_products_with_a_test(tmp_path: Path) -> None:
    files = {
        f"all/{part}/{name}/{number}.jpg": JPEG + f"{part}{name}{number}".encode()
        for part, numbers in {"train": range(5), "test": range(2)}.items()
        for name in ("茶 250g", "rice")
        for number in numbers
    }
    prepared = prepare_rp2k(write(tmp_path / "rp2k", files), tmp_path / "out")
    assert {file.stem for file in prepared.files} == {"train", "val", "test", "test_labelled"}
    assert read(prepared).class_names == ("rice", "茶 250g")
    assert "expected 2,388 classes, as published, but found 2 classes" in prepared.summary


def test_sku110k_becomes_boxes_without_a_product(tmp_path: Path) -> None:
    files = {
        "annotations/annotations_train.csv": "train_0.jpg,10,5,40,60,object,100,60\n"
        "train_0.jpg,90,0,130,30,object,100,60\ntrain_0.jpg,100,0,130,30,object,100,60\n",
        "annotations/annotations_val.csv": "val_0.jpg,0,0,50,30,object,100,60\n",
        "images/train_0.jpg": SHELF,
        "images/val_0.jpg": SHELF,
    }
    prepared = prepare_sku110k(write(tmp_path / "sku", files), tmp_path / "out")
    table = read(prepared, "train")
    assert boxes(table) == [("images/train_0.jpg", "", [10, 5, 30, 55]), ("images/train_0.jpg", "", [90, 0, 10, 30])]
    assert list(table.roles) == ["unlabelled", "unlabelled"]
    assert "train: expected 8,233 photographs" in prepared.summary
    (tmp_path / "sku/annotations/annotations_val.csv").write_text("val_0.jpg,0,0,50,object,100,60\n")
    with pytest.raises(UserError, match="annotations_val.csv, line 1: .* is not `image_name,x1,y1,x2,y2"):
        prepare_sku110k(tmp_path / "sku", tmp_path / "other")
    (tmp_path / "sku/annotations/annotations_val.csv").write_text("a,0\nval_0.jpg,0,0,50,30,object,100,60\nb,0\n")
    with pytest.raises(UserError, match=r"2 places are wrong(.|\n)*val.csv, line 1: (.|\n)*val.csv, line 3: "):
        prepare_sku110k(tmp_path / "sku", tmp_path / "other")


def test_deepfashion2_pairs_pieces_by_pair_and_style(tmp_path: Path) -> None:
    def annotation(source: str, pair: int, *pieces: tuple[int, list[int]]) -> str:
        items = {
            f"item{number}": {"category_name": "vest", "category_id": 5, "style": style, "bounding_box": box}
            for number, (style, box) in enumerate(pieces, start=1)
        }
        return json.dumps({"source": source, "pair_id": pair, **items})

    box = [10, 10, 40, 50]
    parts = {
        "train": [annotation("user", pair, (1, box), (0, [0, 0, 9, 9])) for pair in range(1, 7)],
        "validation": [
            annotation("user", 1, (1, box), (2, [50, 10, 90, 50])),
            annotation("shop", 1, (1, box)),
            annotation("shop", 2, (1, box)),
        ],
    }
    files: dict[str, bytes | str] = {}
    for part, texts in parts.items():
        for number, text in enumerate(texts, start=1):
            files[f"{part}/annos/{number:06}.json"] = text
            files[f"{part}/image/{number:06}.jpg"] = SHELF
    prepared = prepare_deepfashion2(write(tmp_path / "df2", files), tmp_path / "out", val_fraction=0.34)
    test = read(prepared, "test")
    assert [test.class_names[label] for label in test.labels] == ["validation/1/1", "validation/1/1", "validation/2/1"]
    assert test.is_query.tolist() == [True, False, False]
    assert test.boxes.tolist() == [[10, 10, 30, 40]] * 3
    assert set(test.groups) == {"vest"}
    assert (read(prepared).num_classes, read(prepared, "data.retrieval_json").num_classes) == (4, 2)
    assert "6 pieces of style 0 were left out" in prepared.summary
    annos = tmp_path / "df2/train/annos"
    (annos / "000001.json").write_text("[]")
    (annos / "000002.json").write_text(annotation("user", 2, (1, box), (-1, box), (1, box[:3])))
    with pytest.raises(UserError, match=r"3 places are wrong(.|\n)*01.json must (.|\n)*item2 must(.|\n)*item3 must"):
        prepare_deepfashion2(tmp_path / "df2", tmp_path / "other")


def test_a_photograph_is_held_out_as_a_whole_and_one_stays() -> None:
    pictures = [Picture(f"{row // 3}.jpg", "tea", box=(row, 0, 5, 5)) for row in range(30)]
    train, val = hold_out_photographs(pictures, 0.25, seed=1)
    assert (len(train), len(val)) == (24, 6)
    assert hold_out_photographs(pictures, 0, seed=1) == (pictures, [])
    assert {picture.path for picture in hold_out_photographs(pictures[:6], 0.01, seed=0)[1]} < {"0.jpg", "1.jpg"}
    with pytest.raises(UserError, match="one photograph cannot be divided"):
        hold_out_photographs(pictures[:3], 0.2, seed=0)
