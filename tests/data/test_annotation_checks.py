"""The checker: every finding, with its record's index, in one error and one list."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from shelfmark.core.errors import UserError
from shelfmark.data import annotations, findings
from shelfmark.data.annotations import read_annotations
from shelfmark.data.findings import Findings


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A root with the pictures a/0.jpg .. a/9.jpg."""
    root = tmp_path / "shop"
    (root / "a").mkdir(parents=True)
    for number in range(10):
        (root / "a" / f"{number}.jpg").touch()
    return root


def good(number: int, **fields: object) -> dict[str, object]:
    return {"category_id": number % 3, "fpath": f"a/{number}.jpg", **fields}


def check(root: Path, records: list, num_classes: int = 3, **options: object) -> annotations.Table:
    file = root / "train.json"
    file.write_text(json.dumps({"annotations": records, "num_classes": num_classes}))
    return read_annotations(file, root, findings_folder=root.parent / "findings", **options)


def findings_of(root: Path, records: list, **options: object) -> tuple[str, list[tuple[int, str]]]:
    """The error's text, and (record, problem) of each line of the list."""
    with pytest.raises(UserError) as caught:
        check(root, records, **options)
    with open(root.parent / "findings" / "train.findings.csv", encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    return str(caught.value), [(int(line["index"]), line["problem"]) for line in lines]


def test_a_clean_file_leaves_no_list(shop: Path) -> None:
    assert len(check(shop, [good(number) for number in range(10)])) == 10
    assert not (shop.parent / "findings").exists()


def test_every_kind_of_mistake_is_found_at_once(shop: Path) -> None:
    records: list = [
        good(0),
        good(1, category_id=3),
        {"category_id": 1},
        {"fpath": "a/3.jpg"},
        good(4, category_id="1"),
        {"category_id": 0, "fpath": 5},
        {"category_id": 1, "fpath": "a/0.jpg"},
        good(7, fpath="/a/7.jpg"),
        good(8, fpath="a/gone.jpg"),
        None,
        good(9, category_id=None),
        good(5, weight=-1),
        good(6, is_query="yes", true_category_id=-2),
    ]
    text, found = findings_of(shop, records)
    assert found == [
        (1, "category out of range"),
        (2, "missing field"),
        (3, "missing field"),
        (4, "wrong type"),
        (5, "wrong type"),
        (6, "duplicate path with two labels"),
        (7, "path outside the allowed roots"),
        (8, "missing file"),
        (9, "record is not an object"),
        (10, "null category_id without the role 'unlabelled'"),
        (11, "weight out of range"),
        (12, "category out of range"),
        (12, "wrong type"),
    ]
    assert "13 findings in 13 records" in text
    assert "record 1: category out of range: category_id=3, allowed 0..2 (a/1.jpg)" in text
    assert "record 2: missing field: fpath" in text
    assert 'record 4: wrong type: category_id="1", wanted an integer (a/4.jpg)' in text
    assert "record 6: duplicate path with two labels: category_id=1, but record 0 has 0 (a/0.jpg)" in text
    assert "data.extra_roots" in text
    assert f"The whole list: {shop.parent / 'findings' / 'train.findings.csv'}" in text


def test_only_an_integer_in_the_range_is_a_category(shop: Path) -> None:
    wrong, outside = [True, 1.0, "1", [1], {"id": 1}, 10**30], [-1, 3, 2**63, 2**64 - 1, -(2**63)]
    records = [good(0), *({"category_id": value, "fpath": "a/1.jpg"} for value in (*wrong, *outside))]
    text, found = findings_of(shop, records)
    kinds = [*["wrong type"] * len(wrong), *["category out of range"] * len(outside)]
    assert [one for one in found if "label" not in one[1] and "once" not in one[1]] == list(enumerate(kinds, start=1))
    assert all(f"category_id={value}, allowed 0..2" in text for value in outside)


def test_each_kind_of_mistake_has_a_next_step() -> None:
    told_only = {findings.REPEATED, findings.THE_DISK_HAS}
    kinds = {
        value for name, value in vars(findings).items() if name[0] != "_" and name.isupper() and type(value) is str
    }
    assert kinds - told_only == set(findings.NEXT_STEPS)


def test_one_record_may_have_several_findings(shop: Path) -> None:
    _, found = findings_of(shop, [{"category_id": None}, {}, {"category_id": 9, "fpath": ""}])
    assert found == [
        (0, "missing field"),
        (0, "null category_id without the role 'unlabelled'"),
        (1, "missing field"),
        (1, "missing field"),
        (2, "category out of range"),
        (2, "missing field"),
    ]


def test_null_is_a_category_for_unlabelled_records_only(shop: Path) -> None:
    table = check(shop, [good(0, category_id=None, role="unlabelled"), good(1)])
    assert table.labels.tolist() == [-1, 1]
    _, found = findings_of(shop, [good(0, category_id=None, role="train"), good(1, role=7, category_id=None)])
    assert found == [(0, "null category_id without the role 'unlabelled'"), (1, "wrong type")]


def test_the_error_shows_twenty_and_the_list_has_all(shop: Path) -> None:
    records = [good(0, fpath=f"b/{number}.jpg") for number in range(37)]
    text, found = findings_of(shop, records)
    assert found == [(number, "missing file") for number in range(37)]
    assert "37 x missing file" in text
    assert "The first 20:" in text
    assert text.count("\n  record ") == 20
    assert "record 19:" in text
    assert "record 20:" not in text
    assert "is most likely the wrong folder" in text


def test_a_missing_file_names_the_one_that_differs_in_case(shop: Path) -> None:
    text, _ = findings_of(shop, [good(0, fpath="a/0.JPG"), good(1)])
    assert f"{shop}/a/0.JPG (the disk has {shop}/a/0.jpg: they differ in capital letters)" in text
    assert "wrong folder" not in text


@pytest.mark.parametrize(
    ("on_disk", "written", "said"),
    [
        ("b/caf\u00e9.jpg", "b/cafe\u0301.jpg", "the form of Unicode, which there is composed (NFC)"),
        ("caf\u0065\u0301/1.jpg", "caf\u00e9/1.jpg", "the form of Unicode, which there is decomposed (NFD)"),
        ("b/one.jpg", "b\\one.jpg", "backslashes in place of slashes"),
        ("B/One.jpg", "b\\one.jpg", "backslashes in place of slashes and capital letters"),
        ("b/one.jpg", "b/one.jpg ", "blanks around a name"),
        ("b /one.jpg", "b/ONE.jpg", "blanks around a name and capital letters"),
    ],
)
def test_a_missing_file_that_is_there_by_nearly_the_same_name_says_in_what_they_differ(
    shop: Path, on_disk: str, written: str, said: str
) -> None:
    (shop / on_disk).parent.mkdir(exist_ok=True)
    (shop / on_disk).touch()
    text, found = findings_of(shop, [good(0, fpath=written)])
    assert found == [(0, "missing file")]
    assert f"(the disk has {shop / on_disk}: they differ in {said})" in text
    assert "write the name as the disk has it" in text
    assert "wrong folder" not in text


def test_a_path_of_windows_is_told_as_one_where_no_file_is_near(shop: Path) -> None:
    text, _ = findings_of(shop, [good(0, fpath="C:\\photos\\one.jpg"), good(1, fpath="a/gone.jpg")])
    assert "one.jpg (it has backslashes; slashes are written between folders)" in text
    assert "a/gone.jpg (" not in text


def test_a_folder_or_a_dangling_link_is_no_picture(shop: Path) -> None:
    (shop / "a" / "folder.jpg").mkdir()
    (shop / "a" / "link.jpg").symlink_to(shop / "nowhere.jpg")
    (shop / "a" / "good.jpg").symlink_to(shop / "a" / "1.jpg")
    names = ["a/folder.jpg", "a/link.jpg", "a/good.jpg", "a/0.jpg/x.jpg", "a/\0.jpg", "\0/x.jpg"]
    _, found = findings_of(shop, [good(0, fpath=name) for name in names])
    assert found == [(index, "missing file") for index in (0, 1, 3, 4, 5)]


def test_what_is_there_but_no_file_is_told(shop: Path) -> None:
    os.mkfifo(shop / "a" / "pipe.jpg")
    (shop / "a" / "zero.jpg").symlink_to("/dev/zero")
    (shop / "a" / "broken.jpg").symlink_to("nowhere")
    names = ("pipe", "zero", "broken", "gone")
    text, found = findings_of(shop, [{"category_id": 0, "fpath": f"a/{name}.jpg"} for name in names])
    assert found == [(index, "missing file") for index in range(4)]
    for told in ("pipe.jpg (not a regular file)", "zero.jpg (not a regular file)", "broken.jpg (a broken link)"):
        assert told in text


@pytest.fixture
def linked(shop: Path) -> Path:
    """`shop` with links out of it: to a picture (b/one.jpg) and to a folder (c) of `big`; and links within it."""
    big = shop.parent / "big" / "c"
    big.mkdir(parents=True)
    (big / "0.jpg").touch()
    (shop / "b").mkdir()
    (shop / "b" / "one.jpg").symlink_to(big / "0.jpg")
    (shop / "b" / "own.jpg").symlink_to("../a/5.jpg")
    (shop / "c").symlink_to(big)
    (shop / "d").symlink_to("a")
    return shop


LED_OUT = [{"category_id": 0, "fpath": "b/one.jpg"}, {"category_id": 0, "fpath": "c/0.jpg"}]
WITHIN = [good(0), {"category_id": 0, "fpath": "b/own.jpg"}, {"category_id": 1, "fpath": "d/7.jpg"}]


def test_links_are_followed_within_the_root_and_not_out_of_it(linked: Path) -> None:
    assert len(check(linked, WITHIN)) == 3
    text, found = findings_of(linked, [*WITHIN, *LED_OUT])
    assert found == [(3, "link out of the allowed roots"), (4, "link out of the allowed roots")]
    big = linked.parent / "big"
    assert f"{linked}/b/one.jpg leads to {big}/c/0.jpg, allowed: {linked}" in text
    assert f"{linked}/c/0.jpg leads to {big}/c/0.jpg, allowed: {linked}" in text
    assert "data.extra_roots" in text


def test_links_lead_into_extra_roots_and_roots_may_be_links_themselves(linked: Path) -> None:
    assert len(check(linked, [*WITHIN, *LED_OUT], extra_roots=[linked.parent / "big"])) == 5
    (linked.parent / "alias").symlink_to(linked)
    (linked.parent / "alias of big").symlink_to(linked.parent / "big")
    records = [*WITHIN, *LED_OUT]
    assert len(check(linked.parent / "alias", records, extra_roots=[linked.parent / "alias of big"])) == 5


def test_files_are_not_looked_for_when_told_so(shop: Path) -> None:
    file = shop / "train.json"
    file.write_text(json.dumps({"annotations": [good(0, fpath="gone.jpg")], "num_classes": 3}))
    table = read_annotations(file, shop / "no such root", check_files=False)
    assert list(table.paths) == ["gone.jpg"]


def test_absolute_paths_need_an_allowed_root(shop: Path) -> None:
    other = shop.parent / "other"
    other.mkdir()
    for name in ("x.jpg", "y.jpg"):
        (other / name).touch()
    records = [
        good(0),
        good(1, fpath=str(shop / "a/1.jpg")),
        good(2, fpath=f"{other}/x.jpg"),
        good(3, fpath="../other/y.jpg"),
    ]
    text, found = findings_of(shop, records)
    assert found == [(2, "path outside the allowed roots"), (3, "path outside the allowed roots")]
    assert f"allowed: {shop}" in text
    table = check(shop, records, extra_roots=(other,))
    assert table.path(2) == other / "x.jpg"
    assert table.path(1).is_file()
    assert table.path(3).is_file()


def test_a_root_does_not_allow_folders_that_begin_with_its_name(shop: Path) -> None:
    neighbour = shop.parent / "shopping"
    neighbour.mkdir()
    (neighbour / "x.jpg").touch()
    _, found = findings_of(shop, [good(0), good(1, fpath=str(neighbour / "x.jpg"))], extra_roots=(shop.parent / "sho",))
    assert found == [(1, "path outside the allowed roots")]


def test_a_leading_slash_is_explained(shop: Path) -> None:
    text, _ = findings_of(shop, [good(0, fpath="/a/0.jpg")])
    assert "A leading / makes a path absolute" in text


def test_two_spellings_of_one_path_are_one_image(shop: Path) -> None:
    spellings = ["a/0.jpg", "./a/0.jpg", "a//0.jpg", "a/../a/0.jpg", str(shop / "a/0.jpg")]
    records = [{"category_id": index % 2, "fpath": path} for index, path in enumerate(spellings)]
    _, found = findings_of(shop, records)
    assert [index for index, problem in found if problem == "duplicate path with two labels"] == [1, 3]
    assert [index for index, problem in found if problem == "image listed more than once"] == [2, 4]


def test_the_same_image_with_the_same_label_is_told_and_listed(shop: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = check(shop, [good(0), good(1), good(0), good(1), good(2)])
    assert len(table) == 5
    said = caplog.text
    assert "2 x image listed more than once, first in record 2: the same image as record 0" in said
    listed = (shop.parent / "findings" / "train.findings.csv").read_text().splitlines()
    assert listed[1:] == [
        "2,image listed more than once,the same image as record 0,a/0.jpg,97",
        "3,image listed more than once,the same image as record 1,a/1.jpg,137",
    ]


def test_an_unlabelled_copy_is_no_second_label(shop: Path) -> None:
    unlabelled = good(1, category_id=None, role="unlabelled")
    assert len(check(shop, [unlabelled, good(1), unlabelled])) == 3
    _, found = findings_of(shop, [unlabelled, good(1), good(1, category_id=2)])
    assert (2, "duplicate path with two labels") in found


def test_a_list_that_cannot_be_written_does_not_hide_the_findings(shop: Path) -> None:
    (shop.parent / "findings").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"could not be written(.|\n)*missing file") as caught:
        check(shop, [good(0, fpath="gone.jpg")])
    assert "record 0: missing file" in str(caught.value)


def test_the_list_goes_to_log_findings_by_default(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop)
    findings = Findings()
    findings.error(0, "missing file", "x")
    with pytest.raises(UserError, match=r"log/findings/val.findings.csv"):
        findings.settle(Path("dataset/val.json"), ["x"])
    assert (
        shop / "log" / "findings" / "val.findings.csv"
    ).read_text() == "index,problem,value,path\n0,missing file,x,x\n"


def random_records(root: Path, num_records: int) -> list[dict[str, object]]:
    """Records with one mistake or none in each field; a right path is one of the files b/<number>.jpg."""
    generator = np.random.default_rng(7)
    categories = [0, 1, 2, 3, -1, True, 1.5, "2"]
    mistakes: list[object] = ["a/x.jpg", "../a/0.jpg", 3]
    (root / "b").mkdir()
    records = []
    for number in range(num_records):
        (root / "b" / f"{number}.jpg").touch()
        right = generator.random() < 0.5
        record = {
            "category_id": categories[generator.integers(len(categories))],
            "fpath": f"b/{number}.jpg" if right else mistakes[generator.integers(len(mistakes))],
        }
        records.append({name: value for name, value in record.items() if generator.random() < 0.9})
    return records


def category_problem(value: object) -> str | None:
    if value is None:
        return "missing field"
    if type(value) is not int:
        return "wrong type"
    return None if 0 <= value < 3 else "category out of range"


def path_problem(value: object) -> str | None:
    known = {
        None: "missing field",
        3: "wrong type",
        "../a/0.jpg": "path outside the allowed roots",
        "a/x.jpg": "missing file",
    }
    return known.get(value)


def test_findings_agree_with_a_record_by_record_check(shop: Path) -> None:
    records = random_records(shop, num_records=300)
    _, found = findings_of(shop, records)
    expected = [
        (index, problem)
        for index, record in enumerate(records)
        for problem in (category_problem(record.get("category_id")), path_problem(record.get("fpath")))
        if problem
    ]
    repeats = {"duplicate path with two labels", "image listed more than once"}
    assert len(expected) > 200
    assert sorted(item for item in found if item[1] not in repeats) == sorted(expected)
