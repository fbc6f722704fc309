"""Published data sets, and a user's folders, in the annotation format."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tiny_pictures import JPEG

from shelfmark.core.errors import UserError
from shelfmark.data.annotations import read_annotations, read_test_set
from shelfmark.data.converters.aliproducts import prepare_aliproducts
from shelfmark.data.converters.folder import prepare_folder
from shelfmark.data.converters.grocery import prepare_grocery

CHECKOUT = Path(__file__).parents[2]


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def photographs(root: Path, *names: str) -> None:
    """Pictures of which no two have the same bytes."""
    touch(root, *names)
    for name in names:
        (root / name).write_bytes(JPEG + name.encode())


# AliProducts


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A published copy in small: the classes 0, 2 and 7."""
    root = tmp_path / "raw"
    parts = {
        "train": [("1.jpg", "00000"), ("2.jpg", "00007"), ("1.jpg", "00002")],
        "val": [("9.jpg", "00002")],
    }
    for name, images in parts.items():
        touch(root, *(f"{name}/{class_id}/{image_id}" for image_id, class_id in images))
        records = [{"image_id": image_id, "class_id": class_id} for image_id, class_id in images]
        (root / f"{name}.json").write_text(json.dumps({"images": records}))
    touch(root, "test/5.jpg", "test/4.jpg")
    (root / "test.json").write_text(json.dumps({"images": [{"image_id": "5.jpg"}, {"image_id": "4.jpg"}]}))
    (root / "product_tree.json").write_text("{}")
    return root


def test_aliproducts_becomes_three_files_that_read_without_a_finding(raw: Path, tmp_path: Path) -> None:
    prepared = prepare_aliproducts(raw, tmp_path / "out")
    assert [path.name for path in prepared.files] == [f"converted_{name}.json" for name in ("train", "val", "test")]
    train = read_annotations(prepared.options["data.train_json"], prepared.options["data.root"])
    assert list(train.paths) == ["train/00000/1.jpg", "train/00007/2.jpg", "train/00002/1.jpg"]
    assert train.labels.tolist() == [0, 7, 2]
    assert train.num_classes == 8
    val = read_annotations(prepared.options["data.val_json"], prepared.options["data.root"])
    assert (val.labels.tolist(), val.num_classes) == ([2], 8)
    test = read_test_set(prepared.options["data.test_json"], prepared.options["data.test_root"])
    assert list(test.image_ids) == ["5.jpg", "4.jpg"]
    summary = prepared.summary
    assert "3 images in 3 of 8 classes" in summary
    assert "num_classes=8 was written; the published set has 50030" in summary
    assert "product_tree.json is not used" in summary
    assert f"data.root={raw}" in summary


def test_the_published_class_count_needs_no_note(raw: Path) -> None:
    images = [{"image_id": "1.jpg", "class_id": "50029"}]
    (raw / "train.json").write_text(json.dumps({"images": images}))
    prepared = prepare_aliproducts(raw)
    assert not any("num_classes" in note for note in prepared.notes)
    assert json.loads((raw / "converted_train.json").read_text())["num_classes"] == 50030


def test_a_copy_without_val_and_test_is_prepared_and_says_so(raw: Path) -> None:
    (raw / "val.json").unlink()
    (raw / "test.json").unlink()
    prepared = prepare_aliproducts(raw)
    assert list(prepared.files) == [raw / "converted_train.json"]
    assert any("no val.json" in note for note in prepared.notes)
    (raw / "train.json").unlink()
    with pytest.raises(UserError, match=r"has no train\.json"):
        prepare_aliproducts(raw)


@pytest.mark.parametrize("class_id", [42, "42a", "", "-1", "٤٢", None])
def test_a_class_id_must_be_text_of_digits(
    raw: Path, class_id: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images = [{"image_id": "1.jpg", "class_id": "00001"}, {"image_id": "2.jpg", "class_id": class_id}]
    (raw / "train.json").write_text(json.dumps({"images": images}))
    with pytest.raises(UserError, match=r"record 1: wrong type: class_id=.*digits with its zeros"):
        prepare_aliproducts(raw)
    assert not (raw / "converted_train.json").exists()


def test_a_prepared_file_is_not_replaced_by_another(raw: Path) -> None:
    prepare_aliproducts(raw)
    before = (raw / "converted_train.json").stat().st_mtime_ns
    prepare_aliproducts(raw)
    assert (raw / "converted_train.json").stat().st_mtime_ns == before
    (raw / "converted_val.json").write_text("mine")
    (raw / "converted_train.json").unlink()
    with pytest.raises(UserError, match=r"converted_val\.json: there already, with other contents"):
        prepare_aliproducts(raw)
    assert not (raw / "converted_train.json").exists()


def test_the_dataset_script_says_that_the_data_is_gone_and_prepares_a_copy(raw: Path, tmp_path: Path) -> None:
    script = str(CHECKOUT / "dataset" / "get_dataset_AiProducts.sh")
    for arguments in ([], [str(tmp_path)]):
        told = subprocess.run(["sh", script, *arguments], capture_output=True, text=True, check=False)
        assert told.returncode == 1
        assert "no longer published" in told.stderr
        assert "shelfmark prepare aliproducts --source COPY --out" in told.stderr
    folder = tmp_path / "checkout" / "dataset"
    touch(folder.parent, "dataset/get.sh", ".venv/bin/shelfmark")
    (folder / "get.sh").write_text(Path(script).read_text())
    command = folder.parent / ".venv" / "bin" / "shelfmark"
    command.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    command.chmod(0o755)
    ran = subprocess.run(["sh", str(folder / "get.sh"), str(raw)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0
    assert ran.stdout == f"prepare|aliproducts|--source|{raw}|--out|{folder}/AiProducts|"


# Grocery

CLASSES = """Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),Iconic Image Path (str)
Kiwi,1,Kiwi,1,/iconic/Kiwi.jpg
"Apple, red",0,Apple,0,/iconic/Apple.jpg
Pear,2,Pear,2,/iconic/Pear.jpg
"""


@pytest.fixture
def shelves(tmp_path: Path) -> Path:
    """The Grocery Store Dataset in small: three classes, one path with commas."""
    root = tmp_path / "grocery"
    touch(root, "train/a,1.jpg", "train/b.jpg", "val/a.jpg", "val/c.jpg", "iconic/Kiwi.jpg", "iconic/Apple.jpg")
    touch(root, "iconic/Pear.jpg", "LICENSE")
    (root / "classes.csv").write_text(CLASSES)
    (root / "train.txt").write_text("train/a,1.jpg, 0, 0\r\ntrain/b.jpg, 2, 2\r\n\r\n")
    (root / "val.txt").write_text("val/a.jpg, 1, 1\nval/c.jpg, 0, 0\n")
    return root


def test_grocery_becomes_a_folder_complete_by_itself(shelves: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepared = prepare_grocery(shelves, out)
    shelves.rename(tmp_path / "gone")
    train = read_annotations(out / "train.json", out)
    assert list(train.paths) == ["train/a,1.jpg", "train/b.jpg"]
    assert train.labels.tolist() == [0, 2]
    assert train.class_names == ("Apple, red", "Kiwi", "Pear")
    assert train.groups == ("Apple", "Kiwi", "Pear")
    retrieval = read_annotations(out / "retrieval.json", out)
    assert list(retrieval.paths) == ["val/a.jpg", "val/c.jpg", "iconic/Apple.jpg", "iconic/Kiwi.jpg", "iconic/Pear.jpg"]
    assert retrieval.labels.tolist() == [1, 0, 0, 1, 2]
    assert retrieval.is_query is not None
    assert retrieval.is_gallery is not None
    assert retrieval.is_query.tolist() == [True, True, False, False, False]
    np.testing.assert_array_equal(retrieval.is_gallery, ~retrieval.is_query)
    assert (out / "LICENSE").is_file()
    assert prepared.options == {
        "data.root": out,
        "data.train_json": out / "train.json",
        "data.val_json": out / "val.json",
        "data.retrieval_json": out / "retrieval.json",
    }


def test_grocery_with_its_test_part_in_the_public_layout(shelves: Path, tmp_path: Path) -> None:
    touch(shelves, "test/y.jpg", "test/x.jpg")
    (shelves / "test.txt").write_text("test/y.jpg, 2, 2\ntest/x.jpg, 0, 0\n")
    public = tmp_path / "GroceryStoreDataset"
    public.mkdir()
    shelves.rename(public / "dataset")
    prepared = prepare_grocery(public, tmp_path / "out")
    test = read_test_set(prepared.options["data.test_json"], prepared.options["data.root"])
    assert list(test.image_ids) == ["test/y.jpg", "test/x.jpg"]
    labelled = read_annotations(tmp_path / "out" / "test_labelled.json", tmp_path / "out")
    assert labelled.labels.tolist() == [2, 0]
    assert "test.json: 2 images without labels" in prepared.summary


def test_grocery_pictures_are_copied_where_links_are_not_possible(
    shelves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_grocery(shelves, tmp_path / "linked")
    assert os.path.samefile(shelves / "val/a.jpg", tmp_path / "linked/val/a.jpg")

    def no_links(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_links)
    prepare_grocery(shelves, tmp_path / "copied")
    prepare_grocery(shelves, tmp_path / "copied")
    assert (tmp_path / "copied/val/a.jpg").read_bytes() == b"val/a.jpg"
    assert not os.path.samefile(shelves / "val/a.jpg", tmp_path / "copied/val/a.jpg")
    assert not list((tmp_path / "copied").rglob("*.part"))


def test_grocery_can_be_prepared_in_its_own_folder(shelves: Path) -> None:
    prepare_grocery(shelves, shelves)
    assert len(read_annotations(shelves / "train.json", shelves)) == 2


def test_grocery_does_not_replace_another_picture(shelves: Path, tmp_path: Path) -> None:
    touch(tmp_path / "out", "val/a.jpg")
    (tmp_path / "out/val/a.jpg").write_text("mine")
    with pytest.raises(UserError, match="is another image"):
        prepare_grocery(shelves, tmp_path / "out")
    assert (tmp_path / "out/val/a.jpg").read_text() == "mine"


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "train.txt",
            "train/a,1.jpg, 0, 0\ntrain/b.jpg, 3, 2\nwrong\n",
            r"2 lines are not(.|\n)*line 2.*(.|\n)*line 3: wrong",
        ),
        ("train.txt", "\n", "it is empty"),
        ("train.txt", "../../x.jpg, 0, 0\n", "leads out of its folder"),
        ("val.txt", "val/none.jpg, 0, 0\n", r"lacks 1 of its 6 images(.|\n)*val/none\.jpg"),
        ("classes.csv", "Name,ID\nA,0\n", "has no column 'Class Name"),
        ("classes.csv", CLASSES.replace("Pear,2", "Pear,3"), r"must hold each of 0\.\.2 once"),
    ],
)
def test_a_damaged_grocery_copy_is_refused_before_anything_is_written(
    shelves: Path, tmp_path: Path, file: str, text: str, message: str
) -> None:
    (shelves / file).write_text(text)
    with pytest.raises(UserError, match=message):
        prepare_grocery(shelves, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_grocery_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not the Grocery Store Dataset"):
        prepare_grocery(tmp_path, tmp_path / "out")
    with pytest.raises(UserError, match=r"--source .*nowhere is not a folder"):
        prepare_grocery(tmp_path / "nowhere", tmp_path / "out")


def test_the_shared_grocery_photographs(grocery_root: Path, tmp_path: Path) -> None:
    prepare_grocery(grocery_root, tmp_path)
    tables = {name: read_annotations(tmp_path / f"{name}.json", tmp_path) for name in ("train", "val", "retrieval")}
    assert {name: len(table) for name, table in tables.items()} == {"train": 2640, "val": 296, "retrieval": 377}
    assert all(table.num_classes == 81 for table in tables.values())
    assert (tables["train"].counts.min(), tables["train"].counts.max()) == (16, 70)
    assert np.count_nonzero(tables["val"].counts) == 60
    gallery = tables["retrieval"].take(np.asarray(tables["retrieval"].is_gallery))
    assert gallery.labels.tolist() == list(range(81))
    assert len(set(tables["train"].groups or ())) == 43
    labelled = [check_discovery(grocery_root, tmp_path)]
    # The same folder with another draw: all else is there already, and is the same.
    (tmp_path / "discovery.json").unlink()
    prepare_grocery(grocery_root, tmp_path, seed=1)
    labelled.append(check_discovery(grocery_root, tmp_path))
    assert labelled[0] != labelled[1]


def check_discovery(source: Path, out: Path) -> set[int]:
    """Half of the classes are hidden, and their val photographs alone are the test; returns the labelled classes."""
    lists = [(source / f"{part}.txt").read_text().splitlines() for part in ("train", "val")]
    truth = {path: int(label) for path, label, _ in csv.reader([line for lines in lists for line in lines])}
    table = read_annotations(out / "discovery.json", out)
    assert table.roles is not None
    assert table.true_labels is not None
    paths: dict[str, set[str]] = {"labelled": set(), "unlabelled": set(), "test": set()}
    for row, path in enumerate(table.paths):
        role = table.roles[row]
        paths[str(role)].add(path)
        assert (table.true_labels if role == "unlabelled" else table.labels)[row] == truth[path]
        assert (table.labels[row] == -1) == (role == "unlabelled")
    labelled, hidden, tested = ({truth[path] for path in of_role} for of_role in paths.values())
    assert (len(labelled), len(hidden), len(labelled & hidden), len(tested - hidden)) == (41, 40, 0, 0)
    assert paths["labelled"] | paths["unlabelled"] == {path for path in truth if path.startswith("train/")}
    assert paths["test"] == {path for path in truth if path.startswith("val/") and truth[path] in hidden}
    return labelled


# Folders


def test_a_folder_a_class_is_split_by_the_seed(tmp_path: Path) -> None:
    source = tmp_path / "my pictures"
    photographs(
        source, *(f"ä tea/{number}.jpg" for number in range(10)), *(f"Milk/deep/{number}.png" for number in range(5))
    )
    photographs(source, "one/x.webp", ".git/a.jpg")
    touch(source, "Milk/readme.txt")
    (source / "empty").mkdir()
    prepared = prepare_folder(source, tmp_path / "out", val_fraction=0.4, seed=1)
    train = read_annotations(tmp_path / "out" / "train.json", source)
    val = read_annotations(tmp_path / "out" / "val.json", source)
    assert train.class_names == val.class_names == ("Milk", "one", "ä tea")
    assert train.counts.tolist() == [3, 1, 6]
    assert val.counts.tolist() == [2, 0, 4]
    assert set(train.paths).isdisjoint(val.paths)
    assert any("empty" in note for note in prepared.notes)
    again = prepare_folder(source, tmp_path / "again", val_fraction=0.4, seed=1)
    for path, other in zip(prepared.files, again.files):
        assert path.read_bytes() == other.read_bytes()
    prepare_folder(source, tmp_path / "other", val_fraction=0.4, seed=2)
    assert (tmp_path / "other" / "val.json").read_bytes() != (tmp_path / "out" / "val.json").read_bytes()


def test_train_and_val_folders_are_the_parts(tmp_path: Path) -> None:
    photographs(tmp_path, "train/b/1.jpg", "train/a/1.jpg", "train/a/2.jpg", "val/b/9.jpg", "loose.jpg")
    prepare_folder(tmp_path, tmp_path / "out")
    train = read_annotations(tmp_path / "out" / "train.json", tmp_path)
    val = read_annotations(tmp_path / "out" / "val.json", tmp_path)
    assert list(train.paths) == ["train/a/1.jpg", "train/a/2.jpg", "train/b/1.jpg"]
    assert (train.labels.tolist(), val.labels.tolist()) == ([0, 0, 1], [1])
    photographs(tmp_path, "val/c/1.jpg")
    with pytest.raises(UserError, match=r"1 class that .*train has no image of: c"):
        prepare_folder(tmp_path, tmp_path / "out2")


def test_folders_that_cannot_be_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no picture. Expected <class>/<picture>"):
        prepare_folder(tmp_path, tmp_path / "out")
    photographs(tmp_path, "a/1.jpg", "b/1.jpg")
    with pytest.raises(UserError, match="give no image to val"):
        prepare_folder(tmp_path, tmp_path / "out")
    with pytest.raises(UserError, match=r"--val-fraction 1\.5"):
        prepare_folder(tmp_path, tmp_path / "out", val_fraction=1.5)
    photographs(tmp_path, "loose.jpg")
    with pytest.raises(UserError, match=r"1 image outside any class folder, such as loose\.jpg"):
        prepare_folder(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    photographs(tmp_path, "train/a/1.jpg", "val/a/1.jpg")
    (tmp_path / "train" / "a" / os.fsdecode(b"\xff.jpg")).write_bytes(JPEG)
    with pytest.raises(UserError, match="must be UTF-8"):
        prepare_folder(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folders_behind_links_become_extra_roots_and_a_linked_source_is_itself(tmp_path: Path) -> None:
    photographs(tmp_path, *(f"disk/shoe/{number}.jpg" for number in range(3)), *(f"real/hat/{n}.jpg" for n in range(3)))
    (tmp_path / "real" / "shoe").symlink_to(tmp_path / "disk" / "shoe")
    (tmp_path / "source").symlink_to("real")
    prepared = prepare_folder(tmp_path / "source", tmp_path / "out")
    [extra] = json.loads(str(prepared.options["data.extra_roots"]))
    assert extra == str(tmp_path / "disk" / "shoe")
    table = read_annotations(prepared.options["data.train_json"], tmp_path / "source", extra_roots=[Path(extra)])
    assert len(table) == 5
    (tmp_path / "real" / "shoe").unlink()
    assert "data.extra_roots" not in prepare_folder(tmp_path / "source", tmp_path / "other").options
