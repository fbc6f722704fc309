from __future__ import annotations

import pickle
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.core import strings
from shelfmark.core.strings import Strings

WORDS = st.lists(st.text("ab/é中😀 ", max_size=5), max_size=8)


@settings(max_examples=30, deadline=None)
@given(WORDS, st.integers(1, 9))
def test_strings_come_back_as_they_were(words, at_once):
    packed = Strings.of(words)
    with mock.patch.object(strings, "_AT_ONCE", at_once):
        assert list(packed) == words
    assert len(packed) == len(words)


@settings(max_examples=30, deadline=None)
@given(WORDS.filter(len), st.data())
def test_rows_are_taken_in_the_order_asked_for_and_repeat(words, data):
    rows = data.draw(st.lists(st.integers(0, len(words) - 1), max_size=10))
    assert list(Strings.of(words).take(np.array(rows, dtype=np.int64))) == [words[row] for row in rows]


def test_rows_are_taken_by_a_mask():
    packed = Strings.of(["a", "", "ccc"]).take(np.array([True, True, False]))
    assert list(packed) == ["a", ""]


def test_a_name_that_is_no_utf_8_survives():
    name = b"photo\xff.jpg".decode("utf-8", "surrogateescape")
    assert Strings.of([name])[0] == name


def test_negative_rows_count_from_the_end():
    assert Strings.of(["a", "b"])[-1] == "b"


@pytest.mark.parametrize("row", [2, -3])
def test_a_row_that_is_not_there_is_an_index_error(row):
    with pytest.raises(IndexError, match=f"row {row} of 2 strings"):
        Strings.of(["a", "b"])[row]


def test_a_million_strings_are_two_arrays():
    packed = Strings.of(["abc"] * 1000)
    assert (packed.data.nbytes, packed.offsets.nbytes) == (3000, 1001 * 8)


def test_strings_travel_to_another_process():
    assert list(pickle.loads(pickle.dumps(Strings.of(["a", "é"])))) == ["a", "é"]


@settings(max_examples=30, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=4))
def test_joined_strings_follow_part_after_part(parts):
    joined = Strings.joined([Strings.of(words) for words in parts])
    assert list(joined) == [word for words in parts for word in words]
    assert joined.offsets.dtype == np.int64
