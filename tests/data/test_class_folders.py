"""What a folder of photographs means: classes, parts, folders around them; and preparing it again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tiny_pictures import JPEG

from shelfmark.core.errors import UserError
from shelfmark.data.annotations import read_annotations, read_test_set
from shelfmark.data.class_folders import read_class_folders
from shelfmark.data.converters.folder import prepare_folder
from shelfmark.data.converters.prepared import Prepared


def photographs(root: Path, *names: str) -> Path:
    """Pictures of which no two have the same bytes."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(JPEG + name.encode())
    return root


def many(folder: str, number: int) -> list[str]:
    return [f"{folder}/{one:02}.jpg" for one in range(number)]


def told(prepared: Prepared, words: str) -> bool:
    return any(re.search(words, line) for line in prepared.summary.splitlines())


@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("Train", "Valid", "TEST"),
        ("training", "validation", "testing"),
        ("trainset", "dev", "Test_Images"),
    ],
)
def test_parts_are_known_by_their_usual_names_in_any_case(tmp_path: Path, names: tuple[str, str, str]) -> None:
    train, val, test = names
    source = photographs(
        tmp_path / "in", f"{train}/cat/1.jpg", f"{train}/dog/2.jpg", f"{val}/dog/3.jpg", f"{test}/cat/4.jpg"
    )
    prepared = prepare_folder(source, tmp_path / "out")
    tables = {
        name: read_annotations(tmp_path / "out" / f"{name}.json", source) for name in ("train", "val", "test_labelled")
    }
    assert {name: (list(table.paths), table.labels.tolist()) for name, table in tables.items()} == {
        "train": ([f"{train}/cat/1.jpg", f"{train}/dog/2.jpg"], [0, 1]),
        "val": ([f"{val}/dog/3.jpg"], [1]),
        "test_labelled": ([f"{test}/cat/4.jpg"], [0]),
    }
    assert {table.class_names for table in tables.values()} == {("cat", "dog")}
    assert list(read_test_set(prepared.options["data.test_json"], source).paths) == [f"{test}/cat/4.jpg"]
    assert told(prepared, r"data\.val_json=.*test_labelled\.json")


def test_a_test_part_without_classes_is_a_list_of_images(tmp_path: Path) -> None:
    source = photographs(tmp_path / "in", *many("train/cat", 5), *many("train/dog", 5), "test/x.jpg", "test/y.jpg")
    prepared = prepare_folder(source, tmp_path / "out")
    assert list(read_test_set(prepared.options["data.test_json"], source).paths) == ["test/x.jpg", "test/y.jpg"]
    assert not (tmp_path / "out" / "test_labelled.json").exists()
    val = read_annotations(tmp_path / "out" / "val.json", source)
    assert val.counts.tolist() == [1, 1]  # drawn from train, where there is no val


def test_folders_around_the_classes_are_entered_and_said(tmp_path: Path) -> None:
    source = photographs(tmp_path / "in", *many("my photos/2024/cat", 5), *many("my photos/2024/dog", 5))
    photographs(source, "__MACOSX/my photos/._x.jpg", "@eaDir/cat/thumb.jpg", "lost+found/1.jpg", "#snapshot/cat/1.jpg")
    (source / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    prepared = prepare_folder(source, tmp_path / "out")
    train = read_annotations(tmp_path / "out" / "train.json", source)
    assert train.class_names == ("cat", "dog")
    assert told(prepared, r"all pictures lie in my photos/2024/, so its folders are the classes")
    assert told(prepared, r"4 folders of a system .*1 not a picture \(Thumbs\.db\)")
    wrapped = photographs(tmp_path / "in2", *many("set/train/cat", 2), *many("set/train/dog", 2), "set/val/dog/9.jpg")
    prepared = prepare_folder(wrapped, tmp_path / "out2")
    assert told(prepared, "all pictures lie in set/, and the classes in its train and val")
    assert read_annotations(tmp_path / "out2" / "val.json", wrapped).labels.tolist() == [1]


def test_a_class_may_be_called_train_where_no_other_part_stands_beside_it(tmp_path: Path) -> None:
    source = photographs(tmp_path / "in", *many("bus", 5), *many("car", 5), *many("train", 5))
    prepared = prepare_folder(source, tmp_path / "out")
    assert read_annotations(tmp_path / "out" / "train.json", source).class_names == ("bus", "car", "train")
    assert told(prepared, "train is a class, because")
    found = read_class_folders(photographs(source, *many("training", 5)))
    assert found.class_names == ["bus", "car", "train", "training"]
    assert "train and training are classes, because they stand beside other classes" in found.notes[0]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["cat/1.jpg", "dog/1.jpg", "val/1.jpg"], r"has val beside cat, dog: a part of the data, or a class\?"),
        (["train/cat/1.jpg", "holdout/cat/1.jpg"], r"has train beside holdout: a part of the data, or a class\?"),
        (["val/cat/1.jpg", "test/cat/1.jpg"], r"has test, val and no train/"),
        (["train/cat/1.jpg", "val/cat/1.jpg", "valid/cat/2.jpg"], "has val and valid, which are the same part"),
        (["train/cat/1.jpg", "val/Cat /1.jpg"], r"no image of: Cat \. Other spellings: Cat  \(train has cat\)"),
        (["train/1.jpg", "val/cat/1.jpg"], "1 image outside any class folder, such as train/1.jpg"),
        (["cat/caf\u00e9/1.jpg", "cafe\u0301/1.jpg", "caf\u00e9/1.jpg"], "look the same and have other bytes"),
    ],
)
def test_folders_that_may_mean_two_things_are_refused(tmp_path: Path, files: list[str], words: str) -> None:
    source = photographs(tmp_path / "in", *files)
    with pytest.raises(UserError, match=words):
        prepare_folder(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_stands_beside_train_and_val_is_told(tmp_path: Path) -> None:
    source = photographs(tmp_path / "in", "train/a/1.jpg", "train/b/2.jpg", "val/a/3.jpg", "more/a/4.jpg", "cover.jpg")
    (source / "test").mkdir()
    prepared = prepare_folder(source, tmp_path / "out")
    assert told(prepared, "left out: 2 pictures beside train, val")
    assert told(prepared, "no image in .*test")


def test_doubtful_classes_are_warned_of(tmp_path: Path) -> None:
    one = prepare_folder(photographs(tmp_path / "one", *many("shoes", 9)), tmp_path / "out1")
    assert told(one, "warning: there is one class, shoes, so that nothing can be told apart")
    alike = prepare_folder(photographs(tmp_path / "two", *many("Cat", 9), *many("cat", 9)), tmp_path / "out2")
    assert told(alike, "warning: the classes 'Cat' and 'cat' differ by capital letters")
    few = prepare_folder(
        photographs(tmp_path / "few", *many("a", 9), "b/1.jpg", "c/deep/1.jpg", "c/2.jpg"), tmp_path / "out3"
    )
    assert told(few, "2 classes with too few images to give one to val.*: b, c")
    assert told(few, "the class is the first folder, c")


def test_the_name_of_a_class_is_the_same_in_both_forms_of_unicode(tmp_path: Path) -> None:
    source = photographs(tmp_path / "in", "train/cafe\u0301/1.jpg", "train/tea/1.jpg", "val/caf\u00e9/2.jpg")
    found = read_class_folders(source)
    assert found.class_names == ["caf\u00e9", "tea"]
    assert set(found.val.values()) == {"caf\u00e9"}


def test_files_of_the_same_bytes_stay_in_one_part_and_are_told_in_two_classes(tmp_path: Path) -> None:
    source = photographs(tmp_path / "in", *many("cat", 20), *many("dog", 20))
    for number in range(20):
        (source / "cat" / f"copy {number}.jpg").write_bytes((source / "cat" / f"{number:02}.jpg").read_bytes())
    (source / "dog" / "cat.jpg").write_bytes((source / "cat" / "00.jpg").read_bytes())
    prepared = prepare_folder(source, tmp_path / "out", val_fraction=0.5)
    val = set(read_annotations(tmp_path / "out" / "val.json", source).paths)
    assert sum(path.startswith("cat/") for path in val) == 20
    assert all((f"cat/{one:02}.jpg" in val) == (f"cat/copy {one}.jpg" in val) for one in range(20))
    assert told(prepared, r"note: 1 image is in several classes.*cat/00\.jpg = cat/copy 0\.jpg = dog/cat\.jpg")


def test_prepared_again_with_more_pictures_none_changes_its_part(tmp_path: Path) -> None:
    source, out = photographs(tmp_path / "in", *many("cat", 10), *many("dog", 10)), tmp_path / "out"
    prepare_folder(source, out, val_fraction=0.3)
    before = {part: set(read_annotations(out / f"{part}.json", source).paths) for part in ("train", "val")}
    assert told(prepare_folder(source, out, val_fraction=0.3), "nothing has changed since")
    photographs(source, *(f"cat/a{number}.jpg" for number in range(20)), *many("eel", 10))
    (source / "dog" / "00.jpg").unlink()
    assert told(prepare_folder(source, out, val_fraction=0.3), "written anew: train.json, val.json; images stay")
    tables = {part: read_annotations(out / f"{part}.json", source) for part in ("train", "val")}
    for part, table in tables.items():
        assert before[part] - set(table.paths) <= {"dog/00.jpg"}
    assert tables["val"].counts.tolist() == [9, 3, 3]
    assert tables["train"].class_names == ("cat", "dog", "eel")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda source, out: prepare_folder(source, out, seed=1), r"was prepared with seed=0\. A new split there"),
        (lambda source, out: prepare_folder(source, out, val_fraction=0.4), r"was prepared with val_fraction=0\.2"),
        (lambda source, out: prepare_folder(source.parent / "other", out), r"was prepared with source=.*in\b"),
        (lambda source, out: edited(source, out), r"train\.json.*: there already, with other contents"),
    ],
)
def test_a_split_that_runs_may_use_is_never_drawn_anew(tmp_path: Path, change, words: str) -> None:
    source, out = photographs(tmp_path / "in", *many("cat", 10), *many("dog", 10)), tmp_path / "out"
    photographs(tmp_path / "other", *many("cat", 10), *many("dog", 10))
    prepare_folder(source, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(UserError, match=words):
        change(source, out)
    after = {path.name: path.read_bytes() for path in out.iterdir()}
    assert {name for name in before if before[name] != after[name]} <= {"train.json"}


def edited(source: Path, out: Path) -> None:
    document = json.loads((out / "train.json").read_text())
    document["annotations"][0]["weight"] = 2
    (out / "train.json").write_text(json.dumps(document))
    photographs(source, "cat/new.jpg")
    prepare_folder(source, out)


def test_its_own_output_is_never_a_class(tmp_path: Path) -> None:
    source = photographs(tmp_path, *many("cat", 10), *many("dog", 10))
    out = source / "dataset" / "folder"
    for _ in range(2):
        prepared = prepare_folder(source, out)
        assert read_annotations(out / "train.json", source).class_names == ("cat", "dog")
    photographs(source, "log/run/curves.png")
    for name in ("config.yaml", "environment.json"):
        (source / "log" / "run" / name).write_text("{}")
    prepared = prepare_folder(source, out)
    assert read_annotations(out / "train.json", source).class_names == ("cat", "dog")
    assert told(prepared, r"1 folder of a run \(log/run/\)")
    with pytest.raises(UserError, match=r"--out .*cat lies in --source .* and has 10 pictures"):
        prepare_folder(source, source / "cat")


def test_damaged_pictures_are_left_out_and_told(tmp_path: Path) -> None:
    source = photographs(tmp_path / "in", *many("cat", 5), *many("dog", 5))
    (source / "cat" / "empty.jpg").touch()
    (source / "gone").mkdir()
    (source / "gone" / "page.png").write_text("<html>")
    prepared = prepare_folder(source, tmp_path / "out")
    assert len(read_annotations(tmp_path / "out" / "train.json", source)) == 8
    assert told(prepared, r"1 empty file \(cat/empty\.jpg\)")
    assert told(prepared, r"no image in 1 folder, which is no class therefore: gone")
