from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data.class_map import ClassList
from shelfmark.data.table import Table
from shelfmark.runtime.paired_pictures import common_classes, paired_pictures


def table(paths: list[str], root: str = "/data", ids: list[str] | None = None) -> Table:
    return Table(Strings.of(paths), np.zeros(len(paths), np.int64), Strings.of(ids or paths), 1, Path(root), "")


def every_row(*tables: Table) -> list[np.ndarray]:
    return [np.arange(len(one)) for one in tables]


def test_pictures_are_paired_by_their_files_whatever_their_order_and_spelling() -> None:
    one, other = table(["a.jpg", "b.jpg", "c.jpg", "d.jpg"]), table(["c.jpg", "./x/../a.jpg", "e.jpg"])
    elsewhere = table(["data/a.jpg", "data/c.jpg"], "/", ids=["1", "2"])
    found = paired_pictures([one, other, elsewhere], every_row(one, other, elsewhere), "images")
    assert found.by == "file"
    assert [places.tolist() for places in found.places] == [[0, 2], [1, 0], [0, 1]]
    assert found.num_left_out == (2, 1, 0)


def test_a_picture_that_a_run_could_not_read_is_in_no_pair() -> None:
    one = table(["a.jpg", "b.jpg", "c.jpg"])
    found = paired_pictures([one, one], [np.array([0, 2]), np.array([1, 2])], "images")
    # Places are those among the answered rows.
    assert [places.tolist() for places in found.places] == [[1], [1]]


def test_a_picture_that_is_listed_twice_is_paired_twice() -> None:
    one, other = table(["a.jpg", "b.jpg", "a.jpg"]), table(["a.jpg", "a.jpg", "a.jpg"])
    found = paired_pictures([one, other], every_row(one, other), "images")
    assert [places.tolist() for places in found.places] == [[0, 2], [0, 1]]


def test_without_a_file_in_common_the_ids_decide_and_without_an_id_the_runs_are_refused() -> None:
    one, moved = table(["a.jpg", "b.jpg"], "/data"), table(["b.jpg", "a.jpg"], "/moved")
    found = paired_pictures([one, moved], every_row(one, moved), "images")
    assert found.by == "image_id"
    assert [places.tolist() for places in found.places] == [[0, 1], [1, 0]]
    other = table(["c.jpg"])
    with pytest.raises(UserError, match=r"no validation images in common.*\(2 images, 1 image\)"):
        paired_pictures([one, other], every_row(one, other), "validation images")


def test_pictures_whose_annotations_disagree_or_have_no_label_are_left_out() -> None:
    one = table(["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
    found = paired_pictures([one, one], every_row(one, one), "images")
    kept = found.of_one_label([np.array([0, 1, 2, -1]), np.array([0, 2, 2, -1])])
    assert kept.places[0].tolist() == [0, 2]
    assert kept.num_other_label == 1


def test_classes_get_one_numbering_by_name_and_new_ones_stand_behind() -> None:
    lists = [ClassList(2, ("tea", "milk"), "a"), ClassList(3, ("oats", "milk", "tea"), "b")]
    numbers, known = common_classes(lists)
    assert [own.tolist() for own in numbers] == [[0, 1], [2, 1, 0]]
    assert known.names == ("tea", "milk", "oats")
    with pytest.raises(UserError, match="without class_names on both sides"):
        common_classes([lists[0], ClassList(3, None, "b")])
