"""Copies of one photograph: by hashes of windows, confirmed by thumbnails."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_pictures import CHANGES, cropped, drawn, mirrored

from shelfmark.doctor.alignment import laid
from shelfmark.doctor.copy_groups import exact_parts, groups, joined_parts
from shelfmark.doctor.feature_copies import copies_by_features
from shelfmark.doctor.hash_codes import WINDOWS, whole_codes, window_codes
from shelfmark.doctor.measures import RECORD, measured
from shelfmark.doctor.multi_index import Plan, bits_set, near_codes
from shelfmark.doctor.near_copies import Pairs, copies_by_hash, plan_of

NUM = 40


def records(pictures: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([measured(one).numpy().reshape(-1).view(RECORD) for one in pictures])


@pytest.fixture(scope="module")
def thumbs() -> np.ndarray:
    """NUM pictures, then a copy of each by every change, then NUM more that have none."""
    first = [drawn(number) for number in range(NUM)]
    copies = [change(one) for change in CHANGES.values() for one in first]
    return records([*first, *copies, *(drawn(1000 + number) for number in range(NUM))])["thumb"]


def test_every_kind_of_copy_is_found_and_no_other_pair(thumbs: np.ndarray) -> None:
    found = copies_by_hash(np.arange(len(thumbs)), lambda rows: thumbs[rows])
    original = np.where(np.arange(len(thumbs)) < NUM * (1 + len(CHANGES)), np.arange(len(thumbs)) % NUM, -1)
    assert (original[found.first] == original[found.second]).all()
    assert (original[found.second] >= 0).all()
    assert (found.first < found.second).all()
    for place, name in enumerate(CHANGES, start=1):
        mine = (found.first < NUM) & (found.second // NUM == place)
        assert mine.sum() >= NUM - 1, name
        assert found.is_mirrored[mine].mean() == (name == "mirrored"), name
        assert found.is_recoloured[mine].mean() == (name == "recoloured"), name
        assert np.median(found.window[mine]) == pytest.approx(0.9 if name == "cropped" else 1, abs=0.03), name


def test_the_place_of_a_part_is_found_whichever_window_the_search_begins_with(thumbs: np.ndarray) -> None:
    whole, part = records([drawn(3), cropped(drawn(3), 0.85, 0.05, 0.1)])["thumb"]
    for start in ((0.0, 0.0, 0.9, 0.9), (0.1, 0.1, 0.9, 0.9), (0.05, 0.1, 0.8, 0.8)):
        found = laid(whole[None], part[None], np.array([start]))
        assert found.is_copy.all(), start
        assert found.windows[0] == pytest.approx([0.05, 0.1, 0.85, 0.85], abs=0.02)
    assert not laid(thumbs[:1], thumbs[1:2], np.array([(0.0, 0.0, 1.0, 1.0)])).is_copy.any()


def test_two_things_of_one_outline_on_white_are_no_copies() -> None:
    rows, columns = np.mgrid[:96, :96]
    inside = (rows - 48) ** 2 + (columns - 48) ** 2 < 35**2
    pictures = []
    for shade in (rows, 96 - columns + 30 * np.sin(rows / 5)):
        picture = np.full((96, 96, 3), 255.0)
        picture[inside] = (60 + 1.2 * shade[inside])[:, None] * np.array([1.0, 0.4, 0.3])
        pictures.append(picture.clip(0, 255).astype(np.uint8))
    one, other = records(pictures)["thumb"]
    whole = np.array([(0.0, 0.0, 1.0, 1.0)])
    assert not laid(one[None], other[None], whole).is_copy.any()
    assert laid(one[None], records([CHANGES["recoloured"](pictures[0])])["thumb"], whole).is_copy.all()


def test_the_second_hash_is_that_of_the_mirror_image(thumbs: np.ndarray) -> None:
    codes, of_mirrored = whole_codes(thumbs), whole_codes(thumbs[:, :, ::-1])
    # A coefficient that is nearly 0 may round to either sign.
    assert bits_set(codes[:, 1] ^ of_mirrored[:, 0]).mean() < 0.5
    assert np.array_equal(window_codes(thumbs)[:, 0], codes[:, 0])
    assert len(WINDOWS) == window_codes(thumbs).shape[1]


@pytest.mark.parametrize("parts", [6, 9, 12])
def test_every_pair_of_hashes_within_the_promise_is_found_and_none_beyond_the_radius(parts: int) -> None:
    generator = np.random.default_rng(parts)
    codes = generator.integers(0, 2**63, 400, dtype=np.uint64)
    flips = [generator.choice(64, size=number % 12, replace=False) for number in range(300)]
    masks = np.array([sum(1 << int(bit) for bit in some) for some in flips], np.uint64)
    queries = codes[generator.integers(0, 400, 300)] ^ masks
    plan = Plan(parts, 10)
    found: dict[tuple[int, int], int] = {}
    for query, code, differ in near_codes(queries, codes, plan):
        found.update(zip(zip(query.tolist(), code.tolist()), differ.tolist()))
    every = np.array([[bin(int(one ^ other)).count("1") for other in codes] for one in queries])
    assert found == {pair: every[pair] for pair in found}
    assert max(found.values()) <= 10
    promised = {tuple(pair) for pair in np.argwhere(every <= plan.promised).tolist()}
    assert promised <= found.keys()


def test_more_pictures_are_searched_in_fewer_parts_and_a_million_within_the_budget() -> None:
    plans = [plan_of(number) for number in (1_000, 100_000, 1_000_000, 10_000_000)]
    assert [plan.num_parts for plan in plans] == sorted((plan.num_parts for plan in plans), reverse=True)
    assert plans[0].promised == 10
    assert plans[-1].promised >= 4


def test_a_copy_that_was_cropped_by_much_is_found_by_its_features() -> None:
    pictures = [drawn(number) for number in range(12)]
    pictures += [cropped(pictures[0], 0.65, 0.2, 0.1), mirrored(cropped(pictures[1], 0.7, 0.0, 0.3))]
    thumbs = records(pictures)["thumb"]
    features = np.random.default_rng(0).normal(size=(14, 16)).astype(np.float32)
    features[12:] = features[:2] + 0.05
    features[3] = features[2]  # near in the features alone
    everyone = np.arange(14)
    assert len(copies_by_hash(everyone, lambda rows: thumbs[rows])) == 0
    found = copies_by_features(features, everyone, lambda rows: thumbs[rows])
    assert list(zip(found.first.tolist(), found.second.tolist())) == [(0, 12), (1, 13)]
    assert found.is_mirrored.tolist() == [False, True]
    assert found.window == pytest.approx([0.65, 0.7], abs=0.03)


def test_pictures_of_equal_pixels_are_one_part_and_pairs_join_parts() -> None:
    hashes = records([drawn(number) for number in (1, 2, 1, 3, 2, 4)])["pixels"]
    is_read = np.array([True, True, True, True, True, False])
    exact = exact_parts(hashes, is_read)
    assert exact.tolist() == [0, 1, 0, 3, 1, 5]
    joined = joined_parts(exact, np.array([1]), np.array([3]))
    assert joined.tolist() == [0, 1, 0, 1, 1, 5]
    assert [group.tolist() for group in groups(joined)] == [[0, 2], [1, 3, 4]]


def test_a_pair_that_was_found_twice_counts_once() -> None:
    twice = Pairs(
        np.array([4, 1, 4]), np.array([5, 2, 5]), *np.zeros((2, 3), bool), np.array([0.9, 1, 0.5], np.float32)
    )
    found = Pairs.joined([twice, Pairs.none(), twice])
    assert (found.first.tolist(), found.second.tolist()) == ([1, 4], [2, 5])
    assert found.window.tolist() == pytest.approx([1, 0.9])
