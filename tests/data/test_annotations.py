"""Annotation files become numpy columns, or one error that says what to do."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_pictures import JPEG

from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data.annotations import (
    folder_table,
    read_annotations,
    read_test_set,
)
from shelfmark.data.documents import annotations_json, image_list_json, read_document
from shelfmark.data.identity import canonical_path
from shelfmark.data.image_files import image_paths
from shelfmark.data.table import Table

RECORDS = [
    {"category_id": 2, "fpath": "a/one.jpg", "image_id": "one", "weight": 2, "is_query": True, "source": "shop"},
    {"category_id": 0, "fpath": "b/zwei ä.JPG", "confidence": 0.25, "true_category_id": 2, "extra": [1]},
    {"category_id": None, "fpath": "a/商品.png", "role": "unlabelled", "is_gallery": True, "weight": None},
    {"category_id": 2, "fpath": "four.webp", "image_id": None},
]


def written(folder: Path, records: list, name: str = "train.json", **top: object) -> Path:
    """The annotation file, with an empty picture for each record."""
    for record in records:
        picture = folder / record["fpath"]
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.touch()
    file = folder / name
    file.write_text(json.dumps({"annotations": records, "num_classes": 3, **top}), encoding="utf-8")
    return file


def read(file: Path, **options: object) -> Table:
    return read_annotations(file, file.parent, findings_folder=file.parent / "findings", **options)


def test_every_field_becomes_a_column(tmp_path: Path) -> None:
    file = written(tmp_path, RECORDS, class_names=["x", "y", "z"], groups=["g", "g", "h"])
    table = read(file)
    assert len(table) == 4
    assert table.labels.dtype == np.int64
    assert table.labels.tolist() == [2, 0, -1, 2]
    assert table.counts.tolist() == [1, 0, 2]
    assert list(table.paths) == [record["fpath"] for record in RECORDS]
    assert list(table.image_ids) == ["one", "b/zwei ä.JPG", "a/商品.png", "four.webp"]
    assert table.is_query is not None
    assert table.is_query.tolist() == [True, False, False, False]
    assert table.is_gallery is not None
    assert table.is_gallery.tolist() == [False, False, True, False]
    assert list(table.roles or []) == ["", "", "unlabelled", ""]
    assert list(table.sources or []) == ["shop", "", "", ""]
    np.testing.assert_array_equal(table.confidence, np.float32([np.nan, 0.25, np.nan, np.nan]))
    np.testing.assert_array_equal(table.weights, np.float32([2, 1, 1, 1]))
    np.testing.assert_array_equal(table.true_labels, [-1, 2, -1, -1])
    assert (table.class_names, table.groups) == (("x", "y", "z"), ("g", "g", "h"))
    assert table.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert all(table.path(row).is_file() and table.path(row).is_absolute() for row in range(4))
    # A byte order mark is skipped.
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert len(read(file)) == 4


def test_columns_that_no_record_has_are_absent(tmp_path: Path) -> None:
    table = read(written(tmp_path, [{"category_id": 0, "fpath": "a.jpg"}]))
    optional = (table.is_query, table.is_gallery, table.roles, table.sources, table.confidence, table.weights)
    assert all(column is None for column in (*optional, table.true_labels, table.class_names, table.groups))


def test_a_root_given_as_a_relative_path_still_opens_after_the_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, RECORDS)
    monkeypatch.chdir(tmp_path)
    table = read_annotations(Path("train.json"), Path("."))
    monkeypatch.chdir("/")
    assert table.path(0).is_file()


def test_taking_rows_takes_every_column(tmp_path: Path) -> None:
    table = read(written(tmp_path, RECORDS, class_names=["x", "y", "z"]))
    for rows in ([3, 0, 0], np.array([-1, 0]), np.array([False, True, True, False]), slice(1, None), []):
        taken = table.take(rows)
        expected = np.arange(4)[rows].tolist()
        assert len(taken) == len(expected)
        for name, column in vars(table).items():
            if isinstance(column, Strings):
                assert list(getattr(taken, name)) == [column[row] for row in expected], name
            elif isinstance(column, np.ndarray):
                np.testing.assert_array_equal(getattr(taken, name), column[expected], err_msg=name)
            else:
                assert getattr(taken, name) == column, name
    with pytest.raises(IndexError):
        table.take([4])


def test_the_class_count_comes_from_the_file_or_must_agree_with_it(tmp_path: Path) -> None:
    file = written(tmp_path, RECORDS)
    assert read(file).num_classes == 3
    assert read(file, num_classes=3).num_classes == 3
    with pytest.raises(UserError) as caught:
        read(file, num_classes=50030)
    assert str(caught.value) == "data.num_classes=50030 but train.json has 3; set 0 to read it from the file."


def test_a_file_without_a_class_count_needs_the_option(tmp_path: Path) -> None:
    file = written(tmp_path, RECORDS)
    file.write_text(json.dumps({"annotations": RECORDS}))
    assert read(file, num_classes=5).counts.tolist() == [1, 0, 2, 0, 0]
    with pytest.raises(UserError, match=r"train\.json has no num_classes.*data\.num_classes"):
        read(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ('{"annotations": [{"category_id": 1', "not valid JSON.*copied to the end"),
        ('{"annotations": [{"category_id": NaN}]}', "not valid JSON.*line 1 column 34"),
        ("[]", "holds a list at its top level; expected"),
        ("7", "holds a number at its top level"),
        ('{"records": [1]}', "has no 'annotations'; expected .*found: records"),
        ('{"images": [{"image_id": "a"}]}', "test set .*shelfmark prepare"),
        ('{"annotations": {"a": 1}}', "'annotations' is an object; expected a list"),
        ('{"annotations": [], "num_classes": 3}', "'annotations' is empty"),
        ('{"annotations": [{}], "num_classes": 2, "class_names": ["a"]}', "1 entries for num_classes=2"),
        ('{"annotations": [{}], "num_classes": 2, "groups": [1, 2]}', "'groups' must be a list of text"),
    ],
)
def test_a_file_of_the_wrong_shape_gets_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "train.json"
    file.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read(file)
    assert "train.json" in str(caught.value)
    assert not (tmp_path / "findings").exists()


def test_files_that_are_not_there_are_named_with_the_nearest_name(tmp_path: Path) -> None:
    written(tmp_path, RECORDS, name="train_v2.json")
    with pytest.raises(UserError, match=r"train_v3\.json does not exist\. Did you mean train_v2\.json"):
        read(tmp_path / "train_v3.json")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_annotations(tmp_path, tmp_path)
    with pytest.raises(UserError, match=r"elsewhere is not a folder.*set data\.root"):
        read_annotations(tmp_path / "train_v2.json", tmp_path / "elsewhere")


def test_classes_without_images_are_told_but_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(written(tmp_path, [{"category_id": 1, "fpath": "a.jpg"}]))
    assert "no image of 2 of the 3 classes: 0, 2" in caplog.text
    assert not (tmp_path / "findings").exists()
    document = {"annotations": [{"category_id": 1, "fpath": "a.jpg"}], "num_classes": 2, "class_names": ["Oat", "Soy"]}
    (tmp_path / "named.json").write_text(json.dumps(document))
    read(tmp_path / "named.json")
    assert "no image of 1 of the 2 classes: Oat (0)" in caplog.text


def test_a_test_set_keeps_the_order_of_its_file(tmp_path: Path) -> None:
    names = ["b.jpg", "a b.jpg", "ü/c.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    file = tmp_path / "test.json"
    file.write_bytes(image_list_json(names))
    document, sha256 = read_document(file, "images")
    assert document == {"images": [{"image_id": name} for name in names]}
    assert sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    table = read_test_set(file, tmp_path)
    assert list(table.image_ids) == list(table.paths) == names
    assert table.labels.tolist() == [-1, -1, -1]
    assert table.counts.tolist() == []
    assert table.path(2) == tmp_path / "ü/c.jpg"


def test_a_test_set_is_checked_too(tmp_path: Path) -> None:
    file = tmp_path / "test.json"
    file.write_text('{"images": [{"image_id": "gone.jpg"}, {"image_id": 7}, {"id": "x"}, "x"]}')
    with pytest.raises(UserError) as caught:
        read_test_set(file, tmp_path, findings_folder=tmp_path / "findings")
    text = str(caught.value)
    assert "4 findings in 4 records" in text
    assert "record 0: missing file" in text
    assert "record 1: wrong type: image_id=7, wanted text" in text
    assert "record 2: missing field: image_id" in text
    assert 'record 3: record is not an object: "x"' in text
    with pytest.raises(UserError, match=r"belongs to data.train_json"):
        read_test_set(written(tmp_path, RECORDS), tmp_path)


def test_a_folder_of_photographs_is_listed_sorted_and_without_hidden_files(tmp_path: Path) -> None:
    names = ["b.PNG", "a/z.jpeg", "a/deep/ä ö.webp", "B.bmp", "c.JPG"]
    for name in [*names, ".hidden.jpg", ".cache/x.jpg", "notes.txt", "jpg", "a/._c.jpg"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"" if name in ("notes.txt", "jpg") else JPEG)
    table = folder_table(tmp_path)
    assert list(table.paths) == sorted(names) == list(table.image_ids)
    assert (table.num_classes, set(table.labels.tolist())) == (0, {-1})
    assert all(table.path(row).is_file() for row in range(len(table)))
    assert folder_table(tmp_path).sha256 == table.sha256
    (tmp_path / "d.jpg").touch()
    assert folder_table(tmp_path).sha256 != table.sha256


def test_a_folder_that_links_to_itself_is_listed_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.jpg").write_bytes(JPEG)
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert image_paths(tmp_path) == ["a/x.jpg"]


def test_a_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no photograph.*known by their content: JPEG, PNG, WebP"):
        folder_table(tmp_path)
    with pytest.raises(UserError, match="nowhere is not a folder"):
        folder_table(tmp_path / "nowhere")


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.text(st.characters(exclude_categories=["Cs"]), min_size=1)), min_size=1)
)
def test_what_is_written_is_read_back(records: list[tuple[int, str]]) -> None:
    expected = [{"category_id": label, "fpath": path} for label, path in records]
    raw = annotations_json(expected, 7, class_names=[f"class {label}" for label in range(7)])
    assert json.loads(raw) == {
        "annotations": expected,
        "num_classes": 7,
        "class_names": [f"class {label}" for label in range(7)],
    }
    assert raw.count(b"\n") == len(records) + 4


def test_a_name_that_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"udcff.*must be UTF-8; rename the file"):
        image_list_json([os.fsdecode(b"\xff.jpg")])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/b.jpg", "a/b.jpg"),
        ("./a//b.jpg", "a/b.jpg"),
        ("a/../c.jpg", "c.jpg"),
        ("a/.b.jpg", "a/.b.jpg"),
        ("..a/b.jpg", "..a/b.jpg"),
        ("../data/x.jpg", "x.jpg"),
        ("/data/x.jpg", "x.jpg"),
        ("/database/x.jpg", "/database/x.jpg"),
        ("../x.jpg", "/x.jpg"),
        ("", ""),
    ],
)
def test_paths_lose_their_detours(path: str, expected: str) -> None:
    assert canonical_path(path, "/data") == expected


@pytest.mark.parametrize(
    ("count", "message"),
    [
        *((count, "more than 100,000,000") for count in (100_000_001, 2**62, 2**63)),
        *((count, "positive integer") for count in (3.0, 2.5, -1, 0, True, "3", [3], 2**70)),
    ],
)
def test_a_number_of_classes_that_is_none_or_beyond_any_catalogue_is_refused_before_memory_is_asked_for(
    tmp_path: Path, count: object, message: str
) -> None:
    with pytest.raises(UserError, match=rf"num_classes=.*{message}"):
        read(written(tmp_path, RECORDS, num_classes=count))


VALUES = [None, True, 0, -1, 1.5, 1e300, 10**9, 2**62, 2**64 - 1, 2**70, "", "x", "\0", "../..", "/etc", "/", [], {}]
VALUES += ["a/../../x", "é" * 300, [[]] * 3, {"a": 1}, "1", "unlabelled", "." * 5000]


def mutated(draw: random.Random, value: object) -> object:
    """`value`, a place in it changed: replaced, left out, put twice or under another name."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(list(value))
        change = draw.randrange(4)
        if change == 0:
            return {name: item for name, item in value.items() if name != key}
        if change == 1:
            return {**value, draw.choice(["fpath", "num_classes", "role", "images", "groups"]): value[key]}
        return {**value, key: mutated(draw, value[key])}
    if isinstance(value, list) and value and draw.random() < 0.9:
        place = draw.randrange(len(value))
        if draw.random() < 0.2:
            return [*value, value[place]]
        return [*value[:place], mutated(draw, value[place]), *value[place + 1 :]]
    return draw.choice(VALUES)


def refusal(file: Path, is_test_set: bool) -> str | None:
    try:
        read_test_set(file, file.parent, findings_folder=file.parent / "findings") if is_test_set else read(file)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("is_test_set", [False, True])
def test_a_mutated_file_is_read_or_refused_with_its_name(tmp_path: Path, is_test_set: bool) -> None:
    draw = random.Random(0)
    names = {"class_names": ["x", "y", "z"], "groups": ["g", "g", "h"]}
    file = written(tmp_path, RECORDS, **names)
    document = json.loads(file.read_text())
    if is_test_set:
        document = {"images": [{"image_id": record["fpath"]} for record in RECORDS]}
    num_refused = 0
    for _ in range(300):
        text = bytearray(json.dumps(mutated(draw, mutated(draw, document))).encode())
        if draw.random() < 0.2:
            text[draw.randrange(len(text))] = draw.randrange(256)
        file.write_bytes(text)
        said = refusal(file, is_test_set)
        assert said is None or "train.json" in said
        num_refused += said is not None
    assert 100 < num_refused < 300
