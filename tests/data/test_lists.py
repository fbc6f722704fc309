"""Lists that correct a table: what stays, with which label, and what a list may not say."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data.lists import apply_lists, read_image_ids, read_relabels, write_image_ids, write_relabels
from shelfmark.data.table import Table

IDS = ["a", "b ", "商品, 1", 'd"', "e"]
LABELS = [0, 0, 1, 2, -1]


def table(ids: list[str] | None = None) -> Table:
    """Five images with confidences 0, 0.1 ... that tell which rows are left."""
    ids = IDS if ids is None else ids
    paths = Strings.of(f"{row}.jpg" for row in range(len(ids)))
    confidence = np.arange(len(ids), dtype=np.float32) / 10
    return Table(paths, np.array(LABELS), Strings.of(ids), 3, Path("/shop"), sha256="file", confidence=confidence)


def listed(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_without_lists_or_effect_the_table_is_the_very_same(tmp_path: Path) -> None:
    empty = listed(tmp_path, "drop.txt", "# nothing yet\n\n")
    same = listed(tmp_path, "relabel.csv", "image_id,label\na,0\n")
    original = table()
    assert apply_lists(original) is original
    assert apply_lists(original, drop=[empty], relabel=[same]) is original


def test_dropped_images_go_and_the_rest_keep_their_order_and_columns(tmp_path: Path) -> None:
    changed = apply_lists(table(), drop=[listed(tmp_path, "drop.txt", '# seen by Ann\nd"\n\na\n')])
    assert list(changed.image_ids) == ["b ", "商品, 1", "e"]
    assert list(changed.paths) == ["1.jpg", "2.jpg", "4.jpg"]
    assert changed.labels.tolist() == [0, 1, -1]
    np.testing.assert_array_equal(changed.confidence, np.float32([0.1, 0.2, 0.4]))
    assert changed.counts.tolist() == [1, 1, 0]


def test_only_kept_images_stay_and_drop_wins(tmp_path: Path) -> None:
    keep = [listed(tmp_path, "keep.txt", "a\ne\n"), listed(tmp_path, "more.txt", "b \n")]
    drop = [listed(tmp_path, "drop.txt", "e\n")]
    assert list(apply_lists(table(), keep=keep).image_ids) == ["a", "b ", "e"]
    assert list(apply_lists(table(), keep=keep, drop=drop).image_ids) == ["a", "b "]


def test_labels_are_corrected_also_where_there_was_none_and_the_later_line_holds(tmp_path: Path) -> None:
    first = listed(tmp_path, "first.csv", 'image_id,label\n"商品, 1",0\n# e may be 2\ne,1\na,1\na,2\n')
    second = listed(tmp_path, "second.csv", "image_id,label\ne, 2\n")
    original = table()
    assert apply_lists(original, relabel=[first, second]).labels.tolist() == [2, 0, 0, 2, 2]
    assert original.labels.tolist() == LABELS


def test_a_column_of_names_is_for_the_reader_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "named.csv"
    write_relabels(file, [("a", 1), ("e", 2)], {1: "=tea", 2: "rice, brown"})
    assert file.read_text() == 'image_id,label,name\na,1,\'=tea\ne,2,"rice, brown"\n'
    assert read_relabels(file, 3) == {"a": 1, "e": 2}
    # The number was edited, and one name taken out.
    file.write_text("image_id,label,name\na,2,'=tea\ne,0\ne,1,rice\n")
    assert read_relabels(file, 3) == {"a": 2, "e": 1}
    assert "named.csv, line 4: 'e' has label 0 further up; this line holds, with 1" in caplog.text


def test_a_name_that_is_not_its_numbers_is_refused_with_the_line_and_both(tmp_path: Path) -> None:
    file, named = tmp_path / "named.csv", replace(table(), class_names=("=tea", "rice, brown", "Re\u0301sume\u0301"))
    write_relabels(file, [("a", 0), ("e", 1)], dict(enumerate(named.class_names)))
    # Blanks and the form of Unicode are no other name; an empty one says nothing.
    file.write_text(file.read_text() + "e, 2, R\u00e9sum\u00e9 \na,0,\na,0\n")
    assert apply_lists(named, relabel=[file]).labels.tolist()[0] == 0
    for line, said in (
        ("a,2,'=tea", r"line 6: \"a,2,'=tea\": the label 2 is 'Re\u0301sume\u0301', and \"'=tea\" is 0\."),
        ("a,1,coffee", r"the label 1 is 'rice, brown', and 'coffee' is no class of the training annotations\."),
    ):
        other = tmp_path / "other.csv"
        other.write_text("image_id,label,name\n\n\n\n\n" + line + "\n")
        with pytest.raises(UserError, match=said):
            apply_lists(named, relabel=[other])
        assert apply_lists(table(), relabel=[other]) is not None  # without class names there is nothing to compare


def test_rows_of_one_picture_change_together(tmp_path: Path) -> None:
    one = Strings.of(["x.jpg", "y.jpg", "x.jpg"])
    twice = Table(one, np.array([0, 1, 0]), one, 3, Path("/shop"), sha256="file")
    changed = apply_lists(twice, relabel=[listed(tmp_path, "relabel.csv", "image_id,label\nx.jpg,2\n")])
    assert changed.labels.tolist() == [2, 1, 2]


def test_the_hash_tells_the_effect_of_lists_and_not_their_wording(tmp_path: Path) -> None:
    by_drop = apply_lists(table(), drop=[listed(tmp_path, "1.txt", "a\ne\n")])
    reworded = apply_lists(table(), drop=[listed(tmp_path, "2.txt", "# v2\ne\na\na\n")])
    by_keep = apply_lists(table(), keep=[listed(tmp_path, "3.txt", 'b \n商品, 1\nd"\n')])
    assert by_drop.sha256 == reworded.sha256 == by_keep.sha256
    other_rows = apply_lists(table(), drop=[listed(tmp_path, "4.txt", "b \ne\n")])
    relabelled = apply_lists(table(), relabel=[listed(tmp_path, "5.csv", "image_id,label\na,1\n")])
    otherwise = apply_lists(table(), relabel=[listed(tmp_path, "6.csv", "image_id,label\na,2\n")])
    hashes = {"file", by_drop.sha256, other_rows.sha256, relabelled.sha256, otherwise.sha256}
    assert len(hashes) == 5
    assert all(len(one) == 64 for one in hashes - {"file"})


def test_what_was_done_is_told_with_the_classes_that_lost_all(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    relabel = listed(tmp_path, "relabel.csv", "image_id,label\na,1\n")
    apply_lists(table(), drop=[listed(tmp_path, "drop.txt", 'd"\n')], relabel=[relabel])
    assert caplog.messages == ["data.lists: 1 image left out, 1 labelled anew; no image is left of 1 class: 2"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("drop.txt", "a\nbb\nzzzzz\n", r"drop.txt names 'bb' and 1 more, which the training annotations do not have"),
        ("drop.txt", "b\n", r"drop.txt names 'b', .* Did you mean 'b '\?"),
        ("keep.txt", "nowhere\n", r"keep.txt names 'nowhere', which"),
        ("keep.txt", "", "data.lists leave none of the 5 images"),
        ("relabel.csv", "image_id,label\nq,1\n", r"relabel.csv, line 2 names 'q', which"),
        ("relabel.csv", "a,1\n", r"relabel.csv must begin with the line image_id,label"),
        ("relabel.csv", "", r"relabel.csv must begin with the line image_id,label"),
        ("relabel.csv", "image_id,label\na,1\ne,3\n", r"relabel.csv, line 3: 'e,3'; .* a label of 0..2"),
        ("relabel.csv", "image_id,label\na,-1\n", r"line 2: 'a,-1'"),
        ("relabel.csv", "image_id,label\na,1,2\n", r"line 2: 'a,1,2'"),
        ("relabel.csv", "image_id,label\na\n", r"line 2: 'a'"),
        ("relabel.csv", "image_id\na\n", r"must begin with the line image_id,label; it begins with 'image_id'"),
        ("relabel.csv", "image_id,label\n\na,1.5\n", r"line 3: 'a,1.5'"),
        ("relabel.csv", f"image_id,label\na,{'9' * 5000}\n", r"line 2: 'a,9999"),
        ("relabel.csv", 'image_id,label\na,1\n"b ,1\ne,2\n', r"line 3: 'b ,1e,2'"),
        ("relabel.csv", f"image_id,label\na,1\n{'x' * 200_000},1\n", r"line 3: no CSV: field larger"),
        ("relabel.csv", "image_id,label\na\0,1\n", r"line 2 names 'a\\x00'"),
        ("relabel.csv", "image_id,label\na,\0\n", r"line 2: 'a,\\x00'"),
        ("relabel.csv", "image_id;label\na;1\n", r"begins with 'image_id;label'"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        apply_lists(table(), **{name.split(".")[0]: [listed(tmp_path, name, text)]})


@pytest.mark.parametrize("kind", ["drop", "keep", "relabel"])
def test_a_list_that_is_not_utf_8_or_no_file_is_named_with_its_line(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "list.csv"
    file.write_bytes(b"image_id,label\na,1\ncaf\xe9,1\n")
    with pytest.raises(UserError, match=r"list\.csv, line 3: not UTF-8 text"):
        apply_lists(table(), **{kind: [file]})
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe cannot be read: not a regular file"):
        apply_lists(table(), **{kind: [tmp_path / "pipe"]})


def test_an_id_of_several_pictures_is_refused(tmp_path: Path) -> None:
    same = table(["a", "a", "b", "c", "d"])
    with pytest.raises(UserError, match=r"names 'a', but 2 images have that image_id: 0.jpg, 1.jpg"):
        apply_lists(same, drop=[listed(tmp_path, "drop.txt", "a\n")])
    assert len(apply_lists(same, drop=[listed(tmp_path, "drop.txt", "b\n")])) == 4


def test_a_list_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.lists: .*none.txt cannot be read: No such file"):
        apply_lists(table(), drop=[tmp_path / "none.txt"])


def test_a_list_saved_on_windows_is_read(tmp_path: Path) -> None:
    file = tmp_path / "drop.txt"
    file.write_bytes(b"\xef\xbb\xbfa\r\ne\r\n")
    assert read_image_ids(file) == ["a", "e"]


# File names may hold line breaks, and a folder may be called `# new`.
image_ids = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


@example(labels={"x\x85y": 1, "\u2028y": 2, '"q", "': 3, "# new/a.jpg": 4, "b\nc\r.jpg": 5, '"d"': 6, " ": 7})
@example(labels={"\ufeffa": 1, "'b": 2, "'\nc": 3})
@settings(deadline=None, max_examples=15)
@given(st.dictionaries(image_ids, st.integers(0, 9), max_size=8))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, labels: dict[str, int]) -> None:
    folder = tmp_path_factory.mktemp("lists")
    write_image_ids(folder / "drop.txt", labels)
    write_relabels(folder / "relabel.csv", labels.items())
    assert read_image_ids(folder / "drop.txt") == list(labels)
    assert read_relabels(folder / "relabel.csv", 10) == labels


def test_an_image_in_another_form_of_unicode_or_with_backslashes_is_recognised(tmp_path: Path) -> None:
    named = table(["shelf/caf\u00e9.jpg", "shelf/tea.jpg", "x", "y", "z"])
    for line, words in [
        ("shelf/cafe\u0301.jpg", "the form of Unicode, which there is composed"),
        ("shelf\\tea.jpg", "backslashes in place of slashes"),
        ("shelf/Tea.jpg ", "blanks around a name and capital letters"),
    ]:
        with pytest.raises(UserError, match=rf"Did you mean .*\? The two differ in {words}"):
            apply_lists(named, drop=[listed(tmp_path, "drop.txt", f"{line}\n")])
