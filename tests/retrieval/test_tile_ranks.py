from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.retrieval.mutual.tile_ranks import ahead_in_columns, ahead_in_rows


def _slow_ahead(scores: np.ndarray, marks: np.ndarray, numbers: np.ndarray, places: np.ndarray) -> list[list[int]]:
    """Row by row, item by item."""
    return [
        [
            sum(value > mark or (value == mark and number < place) for value, number in zip(row, numbers))
            for mark, place in zip(row_marks, row_places)
        ]
        for row, row_marks, row_places in zip(scores.tolist(), marks.tolist(), places.tolist())
    ]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    # Less and more than the rows that are taken at a time.
    num_rows=st.sampled_from([1, 5, 128, 131]),
    num_columns=st.sampled_from([8, 40]),
    num_marks=st.integers(0, 3),
    levels=st.sampled_from([1, 3, 10**6]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_counts_equal_those_of_a_slow_count_in_both_directions(
    seed: int, num_rows: int, num_columns: int, num_marks: int, levels: int, dtype: type
) -> None:
    generator = np.random.default_rng(seed)
    scores: np.ndarray = generator.integers(levels, size=(num_rows, num_columns)).astype(dtype)
    scores[generator.random(scores.shape) < 0.1] = -np.inf
    marks: np.ndarray = generator.integers(levels, size=(num_rows, num_marks)).astype(dtype)
    marks[generator.random(marks.shape) < 0.1] = np.inf
    numbers, places = generator.permutation(num_columns), generator.integers(-1, num_columns, size=marks.shape)
    expected = _slow_ahead(scores, marks, numbers, places)
    assert ahead_in_rows(scores, marks, numbers, places).tolist() == expected
    # As the columns of a tile, beside others up to a whole number of words.
    turned: np.ndarray = np.zeros((num_columns, -(-num_rows // 8) * 8), dtype=dtype)
    turned[:, :num_rows] = scores.T
    padded = [np.pad(array, [(0, turned.shape[1] - num_rows), (0, 0)]) for array in (marks, places)]
    assert ahead_in_columns(turned, padded[0], numbers, padded[1])[:num_rows].tolist() == expected


def test_counts_of_a_wide_full_tile_do_not_run_over() -> None:
    # All 2,040 items are ahead: 255 in each byte of a row's word.
    wide, numbers = np.ones((2, 2040), dtype=np.float32), np.arange(2040)
    assert (
        ahead_in_rows(wide, np.zeros((2, 1), np.float32), numbers, np.zeros((2, 1), np.int64)).tolist() == [[2040]] * 2
    )
    assert ahead_in_rows(wide, np.ones((2, 1), np.float32), numbers, np.full((2, 1), 2039)).tolist() == [[2039]] * 2
    tall, numbers = np.ones((700, 8), dtype=np.float32), np.arange(700)
    assert (
        ahead_in_columns(tall, np.zeros((8, 1), np.float32), numbers, np.zeros((8, 1), np.int64)).tolist()
        == [[700]] * 8
    )


@pytest.mark.parametrize("num_columns", [12, 2048])
def test_a_tile_that_words_cannot_count_is_our_mistake(num_columns: int) -> None:
    scores = np.zeros((1, num_columns), dtype=np.float32)
    with pytest.raises(AssertionError):
        ahead_in_rows(scores, scores[:, :1], np.arange(num_columns), np.zeros((1, 1), np.int64))
