from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.retrieval.mutual import tile_ranks as module
from shelfmark.retrieval.mutual.tile_ranks import Marks, ahead_in_columns, ahead_in_rows


def _slow_ahead(scores: np.ndarray, marks: Marks, numbers: np.ndarray) -> list[list[int]]:
    """Mark by mark, item by item."""
    return [
        [
            sum(value > mark or (value == mark and number < own) for value, number in zip(row, numbers))
            for row, mark, own in zip(scores.tolist(), level, items)
        ]
        for level, items in zip(marks.scores.tolist(), marks.items.tolist())
    ]


def _memory(scores: np.ndarray) -> np.ndarray:
    # Of more rows than the tile, and full of what an earlier tile left.
    return np.ones((len(scores) + 3, scores.shape[1]), dtype=bool)


def _marks(scores: list[float], items: list[int], num_queries: int) -> Marks:
    return Marks(np.repeat(np.float32([scores]).T, num_queries, axis=1), np.repeat([items], num_queries, axis=0).T)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    num_rows=st.sampled_from([1, 5, 128, 131]),
    num_columns=st.sampled_from([8, 40]),
    num_marks=st.integers(0, 5),
    levels=st.sampled_from([1, 3, 10**6]),
    dtype=st.sampled_from([np.float32, np.float64]),
    # 0: the whole tile is compared with each mark. 1: with the first alone.
    few=st.sampled_from([0, 1 / 12, 1 / 2, 1]),
)
def test_counts_equal_those_of_a_slow_count_in_both_directions(
    seed: int, num_rows: int, num_columns: int, num_marks: int, levels: int, dtype: type, few: float
) -> None:
    generator = np.random.default_rng(seed)
    scores: np.ndarray = generator.integers(levels, size=(num_rows, num_columns)).astype(dtype)
    scores[generator.random(scores.shape) < 0.1] = -np.inf
    values: np.ndarray = generator.integers(levels, size=(num_marks, num_rows)).astype(dtype)
    values[generator.random(values.shape) < 0.1] = np.inf
    numbers = generator.permutation(num_columns)
    marks = Marks(np.sort(values, axis=0), generator.integers(-1, num_columns, size=values.shape))
    expected = _slow_ahead(scores, marks, numbers)
    # As the columns of a tile, beside others up to a whole number of words.
    turned: np.ndarray = np.zeros((num_columns, -(-num_rows // 8) * 8), dtype=dtype)
    turned[:, :num_rows] = scores.T
    padded = Marks(*(np.pad(array, [(0, 0), (0, turned.shape[1] - num_rows)]) for array in (marks.scores, marks.items)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_FEW", few)
        assert ahead_in_rows(scores, marks, numbers, _memory(scores)).tolist() == expected
        found = ahead_in_columns(turned, padded, numbers, _memory(turned))
    assert found[:, :num_rows].tolist() == expected


@pytest.mark.parametrize("few", [0, 1])
def test_counts_of_a_full_tile_do_not_run_over(few: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FEW", few)
    # All items are ahead of the first mark, 255 and more in each byte of a word; all but one of the second.
    for size in (2040, 2048, 4096):
        wide, marks = np.ones((2, size), dtype=np.float32), _marks([0, 1], [0, size - 1], 2)
        assert ahead_in_rows(wide, marks, np.arange(size), _memory(wide)).tolist() == [[size] * 2, [size - 1] * 2]
    for size in (255, 256, 700):
        tall, marks = np.ones((size, 8), dtype=np.float32), _marks([0, 1], [0, size - 1], 8)
        assert ahead_in_columns(tall, marks, np.arange(size), _memory(tall)).tolist() == [[size] * 8, [size - 1] * 8]


def test_a_tile_that_words_cannot_count_is_our_mistake() -> None:
    scores = np.zeros((1, 12), dtype=np.float32)
    with pytest.raises(AssertionError):
        ahead_in_rows(scores, _marks([0], [0], 1), np.arange(12), _memory(scores))
