"""Copies of one photograph: by hashes of windows, confirmed by thumbnails."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_pictures import CHANGES, MORE_CHANGES, cropped, drawn, mirrored

from shelfmark.doctor.alignment import laid
from shelfmark.doctor.copy_groups import exact_parts, groups, joined_parts
from shelfmark.doctor.feature_copies import copies_by_features
from shelfmark.doctor.hash_codes import (
    HALF_TURN,
    MIRRORED,
    STRAIGHT,
    TURNS,
    UPSIDE_DOWN,
    WINDOWS,
    turned,
    turned_codes,
    whole_codes,
    window_codes,
)
from shelfmark.doctor.measures import RECORD, measured
from shelfmark.doctor.multi_index import Plan, bits_set, near_codes
from shelfmark.doctor.near_copies import Pairs, copies_by_hash, plan_of

NUM = 24
EVERY_CHANGE = CHANGES | MORE_CHANGES


def records(pictures: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([measured(one).numpy().reshape(-1).view(RECORD) for one in pictures])


@pytest.fixture(scope="module")
def thumbs() -> np.ndarray:
    """NUM pictures, then a copy of each by every change, then NUM pictures that have none."""
    first = [drawn(number) for number in range(NUM)]
    copies = [change(one) for change in EVERY_CHANGE.values() for one in first]
    return records([*first, *copies, *(drawn(1000 + number) for number in range(NUM))])["thumb"]


def test_every_kind_of_copy_is_found_and_no_other_pair(thumbs: np.ndarray) -> None:
    found = copies_by_hash(np.arange(len(thumbs)), lambda rows: thumbs[rows])
    original = np.where(np.arange(len(thumbs)) < NUM * (1 + len(EVERY_CHANGE)), np.arange(len(thumbs)) % NUM, -1)
    assert (original[found.first] == original[found.second]).all()
    assert (original[found.second] >= 0).all()
    assert (found.first < found.second).all()
    for place, name in enumerate(EVERY_CHANGE, start=1):
        mine = (found.first < NUM) & (found.second // NUM == place)
        assert mine.sum() >= (NUM - 1 if name in CHANGES else 0.8 * NUM), name
        turn = {"mirrored": MIRRORED, "upside down": UPSIDE_DOWN, "turned": (5, 6)}.get(name, STRAIGHT)
        assert np.isin(found.turn[mine], turn).all(), name
        assert found.is_recoloured[mine].mean() == (name in ("recoloured", "clipped", "grey")), name
        assert found.is_covered[mine].mean() == (name == "covered"), name
        window = {"cropped": 0.9, "cropped all round": 0.8}.get(name, 1)
        assert np.median(found.window[mine]) == pytest.approx(window, abs=0.03), name


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


def test_the_hash_of_a_turned_picture_follows_from_its_own(thumbs: np.ndarray) -> None:
    codes = whole_codes(thumbs)
    for turn in TURNS:
        of_turned = whole_codes(turned(thumbs, np.full(len(thumbs), turn)))
        # A coefficient that is nearly 0 may round to either sign.
        assert bits_set(turned_codes(codes, turn) ^ of_turned).mean() < 0.5, turn
    assert np.array_equal(window_codes(thumbs)[:, 0], codes)
    assert len(WINDOWS) == window_codes(thumbs).shape[1]


def test_turns_are_the_eight_symmetries_of_a_square() -> None:
    picture = drawn(1, 32)
    expected = [np.rot90(one, number) for one in (picture, picture[:, ::-1]) for number in range(4)]
    every = [turned(picture[None], np.array([turn]))[0] for turn in TURNS]
    assert {one.tobytes() for one in every} == {one.tobytes() for one in expected}
    assert np.array_equal(every[MIRRORED], picture[:, ::-1])
    assert np.array_equal(every[HALF_TURN], np.rot90(picture, 2))
    assert any(np.array_equal(every[5], np.rot90(picture, number)) for number in (1, 3))


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
    assert [plan.radius for plan in plans] == [12, 10, 8, 8]
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
    assert found.turn.tolist() == [STRAIGHT, MIRRORED]
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
        np.array([4, 1, 4]), np.array([5, 2, 5]), *np.zeros((3, 3), np.uint8), np.array([0.9, 1, 0.5], np.float32)
    )
    found = Pairs.joined([twice, Pairs.none(), twice])
    assert (found.first.tolist(), found.second.tolist()) == ([1, 4], [2, 5])
    assert found.window.tolist() == pytest.approx([1, 0.9])


@pytest.mark.parametrize("noise", [1, 12])
def test_a_crowd_of_copies_is_one_group_of_few_pairs(noise: int) -> None:
    """Some saves of one picture have equal hashes; where the noise is strong, few have."""
    crowd = 150
    generator = np.random.default_rng(noise)
    [picture] = records([drawn(3)])["thumb"]
    thumbs = (picture + generator.normal(0, noise, (crowd, *picture.shape))).round().clip(0, 255).astype(np.uint8)
    compared = 0

    def looked_at(pictures: np.ndarray) -> np.ndarray:
        nonlocal compared
        compared += len(pictures)
        return thumbs[pictures]

    found = copies_by_hash(np.arange(crowd), looked_at)
    assert [len(group) for group in groups(joined_parts(np.arange(crowd), found.first, found.second))] == [crowd]
    assert compared < crowd * 80
