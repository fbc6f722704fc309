"""Runs of bytes against the same work on Python's bytes, a run at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.core import byte_runs
from shelfmark.core.byte_runs import gathered, run_groups, run_hashes, same_runs

DATA = st.text("ab/", max_size=60).map(str.encode)
SEEDS = st.integers(0, 1 << 30)


def runs_of(data: bytes, seed: int, number: int = 25) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[bytes]]:
    """Runs anywhere in the data, some empty, some to its very end."""
    generator = np.random.default_rng(seed)
    begins = generator.integers(0, len(data) + 1, number)
    lengths = np.minimum(generator.integers(0, 24, number), len(data) - begins)
    runs = [data[begin : begin + length] for begin, length in zip(begins.tolist(), lengths.tolist())]
    return np.frombuffer(data, np.uint8), begins, lengths, runs


@contextmanager
def small_limits(at_once: int, long: int) -> Iterator[None]:
    with mock.patch.object(byte_runs, "_RUNS_AT_ONCE", at_once), mock.patch.object(byte_runs, "_LONG", long):
        yield


@settings(max_examples=60, deadline=None)
@given(DATA, SEEDS, st.integers(1, 30), st.sampled_from([0, 9, 4096]))
def test_runs_are_copied_compared_and_hashed_as_bytes_are(data: bytes, seed: int, at_once: int, long: int) -> None:
    array, begins, lengths, runs = runs_of(data, seed)
    others = np.roll(begins, 1)
    others = np.where(others + lengths <= len(data), others, begins)
    theirs = [data[begin : begin + length] for begin, length in zip(others.tolist(), lengths.tolist())]
    with small_limits(at_once, long):
        together, offsets = gathered(array, begins, lengths)
        apart, _ = gathered(array, begins, lengths, behind=b"|")
        hashes = run_hashes(array, begins, lengths).tolist()
        same = same_runs(array, begins, lengths, array, others)
    assert together.tobytes() == b"".join(runs)
    assert apart.tobytes() == b"".join(run + b"|" for run in runs)
    assert np.diff(offsets).tolist() == lengths.tolist()
    assert same.tolist() == [one == other for one, other in zip(runs, theirs)]
    assert len(set(hashes)) == len(set(runs)) == len(set(zip(hashes, runs)))


@settings(max_examples=40, deadline=None)
@given(DATA, SEEDS, st.booleans())
def test_groups_hold_equal_runs_in_their_order_even_where_all_hashes_are_one(
    data: bytes, seed: int, is_hashed: bool
) -> None:
    array, begins, lengths, runs = runs_of(data, seed)
    bad = mock.patch.object(byte_runs, "run_hashes", lambda data, begins, lengths: np.zeros(len(begins), np.int64))
    with mock.MagicMock() if is_hashed else bad:
        order, limits = run_groups(array, begins, lengths)
    groups = [order[first:end].tolist() for first, end in pairwise(limits.tolist())]
    wanted: dict[bytes, list[int]] = {}
    for row, run in enumerate(runs):
        wanted.setdefault(run, []).append(row)
    assert sorted(groups) == sorted(wanted.values())


def test_one_other_byte_anywhere_is_another_run() -> None:
    text = bytes(range(1, 41))
    data = np.frombuffer(text + b"".join(text[:at] + b"\xff" + text[at + 1 :] for at in range(40)), np.uint8)
    begins, lengths = np.arange(41) * 40, np.full(41, 40)
    assert len(set(run_hashes(data, begins, lengths).tolist())) == 41
    assert same_runs(data, begins, lengths, data, np.zeros(41, np.int64)).tolist() == [True] + [False] * 40


def test_zeros_at_an_end_count() -> None:
    data = np.zeros(9, np.uint8)
    assert len(set(run_hashes(data, np.zeros(10, np.int64), np.arange(10)).tolist())) == 10


def test_no_runs_are_nothing() -> None:
    none = np.empty(0, np.int64)
    together, offsets = gathered(np.empty(0, np.uint8), none, none)
    order, limits = run_groups(np.empty(0, np.uint8), none, none)
    assert (len(together), offsets.tolist(), len(order), limits.tolist()) == (0, [0], 0, [0])
