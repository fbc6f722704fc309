"""The order that is computed and never held: a permutation for any size, shuffled, and the same for any processes."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from shelfmark.data.samplers import EpochOrder, SamplingOptions, build_order, rank_batches
from shelfmark.data.samplers.bijection import Bijection
from shelfmark.data.samplers.order import drawn_batches

KEYED = SamplingOptions(type="keyed")


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5000), st.integers(-(2**70), 2**70))
def test_every_number_comes_once(size: int, key: int) -> None:
    found = Bijection(size, key)(np.arange(size))
    assert np.array_equal(np.sort(found), np.arange(size))


@pytest.mark.parametrize("size", [2**20 - 1, 2**20, 2**20 + 1, 2**21 + 1])
def test_every_number_comes_once_at_the_edges_of_the_bits(size: int) -> None:
    seen = np.zeros(size, dtype=bool)
    seen[Bijection(size, 7)(np.arange(size))] = True
    assert seen.all()


def test_parts_of_a_huge_shuffle_are_computed_alone_and_never_meet() -> None:
    size = 10**15 + 3
    whole = Bijection(size, 1)(np.arange(200_000))
    assert len(np.unique(whole)) == 200_000
    assert whole.min() >= 0
    assert whole.max() < size
    assert np.array_equal(Bijection(size, 1)(np.array([199_999, 5])), whole[[199_999, 5]])
    assert whole[:3].tolist() == Bijection(size, 1 + 2**64)(np.arange(3)).tolist()


def test_the_digits_of_a_shuffle_are_fixed() -> None:
    assert Bijection(10, 0)(np.arange(10)).tolist() == [4, 6, 2, 5, 7, 8, 9, 0, 1, 3]
    assert Bijection(10**8, 12345)(np.arange(4)).tolist() == [68452164, 74282360, 64095165, 78098307]


@pytest.mark.parametrize("size", [2, 3, 5, 7, 17])
def test_each_number_is_equally_often_at_each_place(size: int) -> None:
    num_keys = 200 * size
    counts = np.zeros((size, size))
    for key in range(num_keys):
        counts[np.arange(size), Bijection(size, key * 0x5851F42D4C957F2D)(np.arange(size))] += 1
    # Rows and columns both add up, so (size - 1)**2 counts are free.
    statistic = ((counts - num_keys / size) ** 2 / (num_keys / size)).sum()
    assert stats.chi2.sf(statistic, (size - 1) ** 2) > 1e-4


def test_all_orders_of_four_are_equally_frequent() -> None:
    orders = np.array([Bijection(4, key * 977)(np.arange(4)) @ [1000, 100, 10, 1] for key in range(4_800)])
    counts = np.unique(orders, return_counts=True)[1]
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-4


def test_neighbours_in_the_file_are_no_neighbours_in_the_order() -> None:
    size = 1_000_003
    found = Bijection(size, 3)(np.arange(size)).astype(np.int64)
    # Distances of two random places of N: P(|x - y| = d) = 2 (N - d) / N**2.
    for gap in (1, 2, 3, 64, 1000):
        distances = np.abs(np.diff(found[::1][: size - size % gap].reshape(-1, gap)[:, 0]))
        edges = np.linspace(0, size, 41)
        share = (edges / size) * (2 - edges / size)
        counts = np.histogram(distances, edges)[0]
        expected = np.diff(share) * counts.sum()
        assert stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-5, gap


def test_places_of_two_epochs_are_independent() -> None:
    size = 200_000
    first, second = (Bijection(size, key)(np.arange(size)) for key in (1, 2))
    table = np.histogram2d(first, second, bins=20)[0]
    assert stats.chi2_contingency(table).pvalue > 1e-5
    assert abs(np.corrcoef(first, np.arange(size))[0, 1]) < 0.01


LABELS = np.array([0, 1, -1, 2, 2, 1, 0, 2, -1, 1, 1, 0, 2])


def draws_of(order: EpochOrder, epoch: int, world_size: int, start: int = 0) -> list[list[tuple[int, int, int]]]:
    ranks = [rank_batches(order, epoch, start, rank, world_size) for rank in range(world_size)]
    return [list(chain.from_iterable(parts)) for parts in zip(*ranks)]


def test_an_epoch_has_each_labelled_image_once_whatever_the_number_of_processes() -> None:
    order = build_order(KEYED, LABELS, 3, batch_size=4, seed=5)
    batches = draws_of(order, 0, 1)
    rows = [draw[0] for batch in batches for draw in batch]
    assert len(rows) == len(set(rows)) == 8
    assert set(rows) <= set(np.flatnonzero(LABELS >= 0).tolist())
    assert draws_of(order, 0, 2) == draws_of(order, 0, 4) == batches
    assert draws_of(order, 0, 2, start=1) == batches[1:]
    assert draws_of(order, 1, 1) != batches
    assert draws_of(build_order(KEYED, LABELS, 3, 4, seed=6), 0, 1) != batches


def test_further_passes_count_as_further_draws() -> None:
    order = build_order(KEYED, LABELS, 3, batch_size=4, seed=5, steps_per_epoch=7)
    draws = [draw for batch in draws_of(order, 0, 1) for draw in batch]
    assert len(draws) == 28
    for turn in range(2):
        assert sorted(draw[0] for draw in draws[11 * turn : 11 * turn + 11]) == np.flatnonzero(LABELS >= 0).tolist()
    assert [draw[2] for draw in draws] == [0] * 11 + [1] * 11 + [2] * 6
    assert draws_of(order, 0, 1, start=3) == draws_of(order, 0, 1)[3:]


class Held:
    """An order of which only the whole epoch is known, as of the samplers of before."""

    def __init__(self, batches: np.ndarray) -> None:
        self.batches = batches

    @property
    def num_batches(self) -> int:
        return len(self.batches)

    def rows(self, epoch: int) -> np.ndarray:
        return self.batches


@pytest.mark.parametrize("name", ["keyed", "instance", "pk", "class_balanced", "class_aware"])
@pytest.mark.parametrize("views", [1, 2, 4])
def test_draws_are_those_of_the_whole_epoch_held_at_once(name: str, views: int) -> None:
    options = SamplingOptions(type=name, images_per_class=2)
    order = build_order(options, LABELS, 3, batch_size=4 * views, seed=5, steps_per_epoch=6, views=views)
    held = Held(order.rows(1))
    for start in (0, 2):
        for ours, theirs in zip(drawn_batches(order, 1, start), drawn_batches(held, 1, start), strict=True):
            assert np.array_equal(ours.rows, theirs.rows)
            assert np.array_equal(ours.occurrences, theirs.occurrences)


def test_stages_may_be_computed_and_held() -> None:
    stages = [{"from_epoch": 1, "type": "instance"}]
    order = build_order(SamplingOptions(type="keyed", stages=stages), LABELS, 3, batch_size=4, seed=5)
    for epoch, name in ((0, "keyed"), (1, "instance")):
        alone = build_order(SamplingOptions(type=name), LABELS, 3, batch_size=4, seed=5)
        assert draws_of(order, epoch, 2) == draws_of(alone, epoch, 1)


def test_a_hundred_million_images_have_no_array_of_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    # Labels that take no memory: one number, seen a hundred million times.
    labels = np.broadcast_to(np.int64(0), (100_000_000,))
    largest = 0

    def noted(self: Bijection, places: np.ndarray) -> np.ndarray:
        nonlocal largest
        largest = max(largest, len(places))
        return call(self, places)

    call = Bijection.__call__
    monkeypatch.setattr(Bijection, "__call__", noted)
    order = build_order(KEYED, labels, 1, batch_size=512, seed=0)
    assert order.num_batches == 195_312
    last = next(iter(rank_batches(order, 3, start_step=195_311, rank=1, world_size=2)))
    assert len(last) == 256
    assert largest == 512
    assert "groups" not in vars(order.plan)  # type: ignore[attr-defined]
