"""Single pictures, classes, leaks and labels: hand-made cases with the answer worked out."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_pictures import drawn
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.core.strings import Strings
from shelfmark.data.table import Table
from shelfmark.doctor.class_faults import few_classes, twin_classes
from shelfmark.doctor.copy_faults import leaks, two_labels
from shelfmark.doctor.listings import Listings
from shelfmark.doctor.measures import RECORD, blur, measured
from shelfmark.doctor.near_copies import Pairs
from shelfmark.doctor.picture_faults import picture_faults
from shelfmark.doctor.remedy import pictures_to_drop


def table(names: list[str], labels: list[int], root: Path = Path("/data")) -> Table:
    packed = Strings.of(names)
    return Table(packed, np.array(labels), packed, num_classes=9, root=root, sha256="")


def pairs(*ends: tuple[int, int], recoloured: tuple[int, ...] = (), covered: tuple[int, ...] = ()) -> Pairs:
    first, second = np.array(ends, np.int64).reshape(-1, 2).T
    changed = (np.isin(np.arange(len(ends)), some) for some in (recoloured, covered))
    return Pairs(first, second, np.zeros(len(ends), np.uint8), *changed, np.ones(len(ends), np.float32))


def test_each_fault_of_a_picture_is_found_by_what_was_measured() -> None:
    good = drawn(1, 200)
    pictures = {
        "good": good,
        "dark": (good * 0.25).astype(np.uint8),
        "bright": (213 + good * 0.16).astype(np.uint8),
        "blank": np.full((200, 200, 3), 128, np.uint8),
        "blurred": cv2.GaussianBlur(good, (0, 0), 4),
        "tiny": drawn(2, 100),
        "odd_shape": drawn(3, 480)[:120],
        "white paper": np.where(drawn(4, 200) < 90, drawn(4, 200), 255).astype(np.uint8),
    }
    facts = np.concatenate([measured(one).numpy().reshape(-1).view(RECORD) for one in pictures.values()])
    is_read = np.ones(len(facts), bool)
    found = {
        fault.name: [list(pictures)[one] for one in fault.pictures] for fault in picture_faults(facts, is_read, 224)
    }
    expected = {name: [name] for name in ("dark", "bright", "blank", "blurred", "odd_shape")}
    assert found == {**expected, "tiny": ["tiny"]}
    assert not any(len(fault.pictures) for fault in picture_faults(facts, ~is_read, 224))


@settings(max_examples=20, deadline=None)
@given(number=st.integers(0, 1000), sigma=st.floats(1, 4))
def test_a_blurred_picture_is_never_measured_as_sharper(number: int, sigma: float) -> None:
    grey = drawn(number)[..., 0]
    assert blur(cv2.GaussianBlur(grey, (0, 0), sigma)) > blur(grey)


def test_pixels_decide_whether_pictures_are_the_same_not_their_shape_alone() -> None:
    picture = drawn(1)
    other = picture.copy()
    other[5, 5, 0] ^= 1
    hashes = [measured(one).numpy().reshape(-1).view(RECORD)["pixels"][0] for one in (picture, picture.copy(), other)]
    assert hashes[0] == hashes[1]
    assert hashes[0] != hashes[2]
    assert (
        measured(np.zeros((2, 8, 3), np.uint8)).numpy().tobytes()[:16]
        != measured(np.zeros((8, 2, 3), np.uint8)).numpy().tobytes()[:16]
    )


def test_a_leak_is_one_file_in_two_splits_or_a_copy_and_val_beside_test_is_none() -> None:
    listings = Listings.of(
        {
            "train": table(["a", "b", "c", "./d"], [0, 0, 1, 1]),
            "val": table(["e", "d", "f"], [0, 1, 1]),
            "test": table(["f"], [-1]),
        },
        frozenset({"train", "val"}),
    )
    assert list(listings.paths) == [f"/data/{name}" for name in "abcdef"]
    parts = np.array([0, 1, 2, 3, 1, 5])  # e is a copy of b
    found = leaks(parts, listings)
    assert {split: [group.tolist() for group in groups] for split, groups in found.items()} == {"val": [[1, 4], [3]]}


def test_labels_are_compared_within_one_catalogue_and_as_sets() -> None:
    listings = Listings.of(
        {
            # The photograph `s` shows two products, and so does its copy `t`; `u` lists only one of them.
            "train": table(["a", "b", "s", "s", "t", "t", "u", "n"], [0, 1, 2, 3, 3, 2, 2, -1]),
            "retrieval": table(["r", "q"], [7, 8]),
        },
        frozenset({"train", "val"}),
    )
    a, b, s, t, u, n, r, q = range(8)
    groups = [np.array(one) for one in ((a, b), (a, n), (s, t), (s, u), (a, r), (r, q))]
    assert [group.tolist() for group in two_labels(groups, listings)] == [[a, b], [s, u], [r, q]]


def test_copies_count_once_where_a_class_has_few() -> None:
    labels = np.array([0] * 6 + [1] * 6 + [-1])
    parts = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12])
    few, counts = few_classes(labels, parts, num_classes=3)
    assert few.tolist() == [2, 1]
    assert counts.tolist() == [6, 4, 0]


@pytest.mark.parametrize("seed", range(3))
def test_a_product_under_two_labels_is_told_from_its_neighbours(seed: int) -> None:
    generator = np.random.default_rng(seed)
    means = generator.normal(size=(12, 24))
    means[1] = means[0] + 0.5 * generator.normal(size=24)  # another product that looks like it
    truth = np.repeat(np.arange(12), 20)
    features = means[truth] + 0.7 * generator.normal(size=(240, 24))
    labels = truth.copy()
    labels[100:110] = 12  # half of class 5
    found = twin_classes(features.astype(np.float32), labels)
    assert list(zip(found.first.tolist(), found.second.tolist())) == [(5, 12)]
    assert len(twin_classes(features.astype(np.float32), truth).first) == 0
    assert len(twin_classes(features[:2].astype(np.float32), truth[:2]).first) == 0


def test_what_is_surely_wrong_is_dropped_and_the_rest_stays() -> None:
    names = ["keep", "small", "same", "leak", "wrong1", "wrong2", "tinted", "other", "broken", "near_a", "near_b"]
    names += ["priced"]
    labels = [0, 0, 0, 1, 1, 2, 0, 3, 0, 4, 5, 0]
    listings = Listings.of(
        {"train": table(names, labels), "val": table(["v", "w", "broken_v"], [1, 0, 0])}, frozenset({"train", "val"})
    )
    number = {name: place for place, name in enumerate([*names, "v", "w", "broken_v"])}
    exact = np.arange(15)
    exact[number["same"]] = number["keep"]
    exact[number["wrong2"]] = number["wrong1"]
    is_read = np.ones(15, bool)
    is_read[[number["broken"], number["broken_v"]]] = False
    num_pixels = np.full(15, 100)
    num_pixels[number["small"]] = 50
    ends = [("keep", "small"), ("leak", "v"), ("keep", "tinted"), ("near_a", "near_b"), ("other", "w")]
    ends += [("keep", "priced")]
    found_pairs = pairs(*((number[a], number[b]) for a, b in ends), recoloured=(2,), covered=(5,))
    found = pictures_to_drop(listings, exact, found_pairs, is_read, num_pixels)
    # `tinted` and `priced` may be other products of one design, `near_a` and `near_b` too; `other` has another label
    # than `w`.
    assert {names[one] for one in found["train"]} == {"small", "same", "leak", "wrong1", "wrong2", "broken"}
    assert found["val"].tolist() == [number["broken_v"]]
