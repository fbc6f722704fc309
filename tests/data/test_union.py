"""Several annotation files as one training set."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data.table import Table
from shelfmark.data.union import union

FILES = [Path("train.json"), Path("val.json"), Path("more.json")]


def table(paths: list[str], labels: list[int], **columns: Any) -> Table:
    packed = Strings.of(paths)
    options = {"num_classes": 4, "root": Path("/data"), "sha256": "".join(paths), **columns}
    return Table(packed, np.array(labels, dtype=np.int64), packed, **options)


def rows(joined: Table) -> list[tuple[str, int]]:
    return list(zip(joined.paths, joined.labels.tolist()))


def test_the_images_follow_file_after_file() -> None:
    joined = union([table(["a", "bb"], [0, 1]), table(["ü", "d"], [2, 3]), table(["e"], [-1])], FILES)
    assert rows(joined) == [("a", 0), ("bb", 1), ("ü", 2), ("d", 3), ("e", -1)]
    assert list(joined.image_ids) == ["a", "bb", "ü", "d", "e"]
    assert joined.counts.tolist() == [1, 1, 1, 1]


def test_the_hash_is_that_of_the_hashes_in_their_order_and_of_one_file_its_own() -> None:
    one, two = table(["a"], [0]), table(["b"], [1])
    assert union([one], FILES[:1]) is one
    assert union([one, two], FILES[:2]).sha256 == hashlib.sha256(b"ab").hexdigest()
    assert union([two, one], FILES[:2]).sha256 == hashlib.sha256(b"ba").hexdigest()


def test_a_column_that_one_file_lacks_is_filled_with_what_absent_means() -> None:
    columns = {
        "is_query": np.array([True]),
        "confidence": np.array([0.5], dtype=np.float32),
        "weights": np.array([3], dtype=np.float32),
        "true_labels": np.array([2]),
        "sources": Strings.of(["pseudo"]),
        "groups": ("g",) * 4,
        "class_names": tuple("wxyz"),
    }
    joined = union([table(["a"], [0]), table(["b"], [1], **columns)], FILES)
    assert joined.is_query is not None
    assert joined.is_query.tolist() == [False, True]
    assert joined.confidence is not None
    assert np.isnan(joined.confidence[0])
    assert joined.confidence[1] == 0.5
    assert joined.weights is not None
    assert joined.weights.tolist() == [1, 3]
    assert joined.true_labels is not None
    assert joined.true_labels.tolist() == [-1, 2]
    assert joined.sources is not None
    assert list(joined.sources) == ["", "pseudo"]
    assert (joined.roles, joined.is_gallery) == (None, None)
    assert (joined.groups, joined.class_names) == (("g",) * 4, tuple("wxyz"))
    assert {column.dtype for column in (joined.confidence, joined.weights)} == {np.dtype(np.float32)}


def test_an_image_of_several_files_is_taken_once_however_its_path_is_written(caplog: pytest.LogCaptureFixture) -> None:
    first, second = table(["a", "b"], [0, 1]), table(["/data/b", "c", "./a"], [1, 2, 0])
    assert rows(union([first, second], FILES)) == [("a", 0), ("b", 1), ("c", 2)]
    assert "2 images of several files" in caplog.text


def test_what_one_file_lists_twice_stays_as_it_does_without_a_union() -> None:
    assert len(union([table(["a", "a"], [0, 0]), table(["b"], [1])], FILES)) == 3


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_a_labelled_and_an_unlabelled_record_the_labelled_stays(order: tuple[int, int]) -> None:
    tables = [table(["a"], [-1]), table(["a", "b"], [2, 3])]
    assert sorted(rows(union([tables[index] for index in order], FILES))) == [("a", 2), ("b", 3)]


def test_two_labels_of_one_image_are_an_error_that_names_both_files() -> None:
    tables = [table(["a", "b"], [-1, 1]), table(["a"], [3]), table(["./a"], [2])]
    with pytest.raises(UserError, match=r"a has category_id=2 in more\.json, but 3 in val\.json"):
        union(tables, FILES)
    # Within a file a label may follow an unlabelled record of the same image.
    with pytest.raises(UserError, match=r"a has category_id=2 in val\.json, but 3 in train\.json"):
        union([table(["a", "a"], [-1, 3]), table(["a"], [2])], FILES)


def test_the_classes_of_later_files_are_matched_by_name_to_those_of_the_first() -> None:
    first = table(["a"], [0], class_names=tuple("wxyz"), groups=("g",) * 4)
    second = table(["b", "c"], [0, 2], class_names=tuple("zyxw"), true_labels=np.array([3, -1]))
    joined = union([first, second], FILES)
    assert rows(joined) == [("a", 0), ("b", 3), ("c", 1)]
    assert joined.true_labels is not None
    assert joined.true_labels.tolist() == [-1, 0, -1]
    assert (joined.class_names, joined.num_classes) == (tuple("wxyz"), 4)
    # The same image under two numbers of one class is no contradiction.
    assert rows(union([first, table(["a"], [3], class_names=tuple("zyxw"))], FILES)) == [("a", 0)]


def test_files_of_other_classes_are_refused() -> None:
    first = table(["a"], [0], class_names=tuple("wxyz"))
    with pytest.raises(UserError, match=r"val\.json has num_classes=5 but the training annotations have 4"):
        union([first, replace(table(["b"], [0]), num_classes=5)], FILES)
    with pytest.raises(
        UserError, match=r"val\.json has images of a class that the training annotations do not know: 'q'"
    ):
        union([first, table(["b"], [3], class_names=tuple("wxyq"))], FILES)
