"""Two lists of classes: the same class is found by its name, or nothing goes on."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data.class_map import ClassList, class_sources, matched, matched_or_own, with_new_behind
from shelfmark.data.table import Table

CHECKPOINT = ClassList(4, ("tea", "jam", "milk", "soap"), "the checkpoint")


def table(labels: list[int], names: str | None, **columns: Any) -> Table:
    packed = Strings.of(str(row) for row in range(len(labels)))
    listed = None if names is None else tuple(names.split(","))
    options = {"num_classes": 4 if listed is None else len(listed), "root": Path("/data"), "sha256": "", **columns}
    return Table(packed, np.array(labels, dtype=np.int64), packed, class_names=listed, **options)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(min_size=1).map(str.strip), min_size=1, max_size=8, unique_by=str.casefold), st.data())
def test_every_image_keeps_the_name_of_its_class_in_any_order_and_with_any_part_of_the_classes(
    names: list[str], data: st.DataObject
) -> None:
    names = list(dict.fromkeys(unicodedata.normalize("NFC", name).strip() for name in names))
    theirs = data.draw(st.permutations(names))[: data.draw(st.integers(1, len(names)))]
    labels = data.draw(st.lists(st.integers(-1, len(theirs) - 1), max_size=10))
    before = table(labels, None, num_classes=len(theirs))
    before = Table(**{**vars(before), "class_names": tuple(theirs)})
    after = matched(before, "val.json", ClassList(len(names), tuple(names), "the checkpoint"))
    assert (after.num_classes, after.class_names) == (len(names), tuple(names))
    assert [names[new] if new >= 0 else None for new in after.labels] == [
        theirs[old] if old >= 0 else None for old in labels
    ]


def test_the_columns_of_labels_and_groups_follow_and_one_line_says_so(caplog: pytest.LogCaptureFixture) -> None:
    given_table = table(
        [0, 2, -1], "milk,jam,tea", groups=("dairy", "spread", "drink"), true_labels=np.array([1, -1, 2])
    )
    found = matched(given_table, "val.json", CHECKPOINT)
    assert found.labels.tolist() == [2, 0, -1]
    assert found.true_labels is not None
    assert found.true_labels.tolist() == [1, -1, 0]
    assert found.groups == ("drink", "spread", "dairy", "")
    assert "val.json: 2 classes stand in another order than in the checkpoint; matched by name" in caplog.text
    caplog.clear()
    assert matched(table([1], "tea,jam"), "val.json", CHECKPOINT).num_classes == 4
    assert caplog.text == ""


def test_neither_the_form_of_an_accent_nor_blanks_make_another_class() -> None:
    composed = ClassList(2, ("Café crème", "Rösti"), "the checkpoint")
    apart = unicodedata.normalize("NFD", " Rösti,Café crème ")
    assert matched(table([0, 1], apart), "val.json", composed).labels.tolist() == [1, 0]


def test_an_image_of_an_unknown_class_is_refused_and_an_empty_class_is_left_out() -> None:
    with pytest.raises(
        UserError, match=r"val\.json has images of 2 classes .* the checkpoint does not know: 'fish', 'jem'"
    ):
        matched(table([0, 1, 2], "fish,jem,milk"), "val.json", CHECKPOINT)
    with pytest.raises(UserError, match=r"does not know: 'jem'\. Did you mean 'jam'\?"):
        matched(table([1, 2], "fish,jem,milk"), "val.json", CHECKPOINT)
    assert matched(table([2], "fish,jem,milk"), "val.json", CHECKPOINT).labels.tolist() == [2]


def test_names_that_stand_twice_cannot_be_matched_unless_the_lists_are_the_same() -> None:
    twice = ClassList(3, ("tea", "jam", "tea"), "the checkpoint")
    assert matched(table([2], "tea,jam,tea"), "val.json", twice).labels.tolist() == [2]
    with pytest.raises(UserError, match=r"the checkpoint has the name 'tea' for several classes"):
        matched(table([0], "jam,tea"), "val.json", twice)
    with pytest.raises(UserError, match=r"val\.json has the name 'jam' for several classes"):
        matched(table([0], "jam,jam"), "val.json", CHECKPOINT)


@pytest.mark.parametrize("side", ["theirs", "ours", "both"])
def test_without_names_the_numbers_count_and_there_must_be_equally_many(side: str) -> None:
    known = CHECKPOINT if side == "theirs" else ClassList(4, None, "the checkpoint")
    names = "a,b,c,d" if side == "ours" else None
    assert matched(table([3, 0], names), "val.json", known).labels.tolist() == [3, 0]
    fewer = table([0], None, num_classes=3) if names is None else table([0], "a,b,c")
    with pytest.raises(
        UserError, match=r"val\.json has num_classes=3 but the checkpoint has 4, and without class_names"
    ):
        matched(fewer, "val.json", known)


def test_another_catalogue_keeps_its_numbers_where_that_is_allowed() -> None:
    other = table([0, 1], "milk,fish")
    assert matched_or_own(other, "gallery", CHECKPOINT) is other
    longer = table([4], "tea,jam,milk,soap,fish")
    assert matched_or_own(longer, "gallery", CHECKPOINT) is longer
    assert matched_or_own(table([0], "soap,jam"), "gallery", CHECKPOINT).labels.tolist() == [3]


def test_new_classes_come_behind() -> None:
    numbers, everything = with_new_behind(ClassList(3, ("fish", "milk", "rice"), "train.json"), CHECKPOINT)
    assert numbers.tolist() == [4, 2, 5]
    assert everything.names == ("tea", "jam", "milk", "soap", "fish", "rice")


def test_sources_say_where_each_class_was_and_nothing_where_nothing_moved() -> None:
    found = class_sources(["soap", "fish", "tea"], CHECKPOINT.names)
    assert found is not None
    assert found.tolist() == [3, -1, 0]
    assert class_sources(["tea ", "jam", "milk", "soap"], CHECKPOINT.names) is None
    assert class_sources(None, CHECKPOINT.names) is None
    doubtful = class_sources(["tea", "tea"], CHECKPOINT.names)
    assert doubtful is not None
    assert doubtful.tolist() == [-1, -1]
