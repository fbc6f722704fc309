"""Classes held out of the training part of a retrieval data set."""

from __future__ import annotations

from collections import Counter

import pytest

from shelfmark.data.converters.class_disjoint import hold_out_classes
from shelfmark.data.converters.pictures import Picture, class_names


def pictures(counts: list[int], groups: list[str] | None = None) -> list[Picture]:
    """`counts[i]` pictures of the class i, which is in `groups[i]`."""
    names = enumerate(zip(counts, groups or [""] * len(counts)))
    return [Picture(f"{name}/{n}.jpg", str(name), group) for name, (count, group) in names for n in range(count)]


@pytest.mark.parametrize(("fraction", "num_held"), [(0.2, 20), (0.5, 50), (0.01, 1), (0.99, 99), (0.0, 0)])
def test_the_part_is_of_the_classes_whatever_their_size(fraction: float, num_held: int) -> None:
    everything = pictures([1 + number % 7 for number in range(100)])
    train, held = hold_out_classes(everything, fraction, seed=3)
    assert (len(class_names(train)), len(class_names(held))) == (100 - num_held, num_held)
    # Whole classes, each picture once, in the order that they came in.
    assert sorted([*train, *held]) == sorted(everything)
    assert not {picture.name for picture in train} & {picture.name for picture in held}
    assert train == [picture for picture in everything if picture in set(train)]


def test_each_group_gives_its_share_and_keeps_a_class() -> None:
    groups = ["a"] * 10 + ["b"] * 20 + ["c"]
    for seed in range(10):
        _, held = hold_out_classes(pictures([2] * 31, groups), 0.5, seed)
        by_group = Counter(groups[int(name)] for name in class_names(held))
        assert (by_group["a"], by_group["b"], by_group["c"]) == (5, 10, 0)


def test_every_class_may_be_drawn_by_some_seed() -> None:
    drawn = {name for seed in range(60) for name in class_names(hold_out_classes(pictures([2] * 10), 0.2, seed)[1])}
    assert drawn == set(map(str, range(10)))


def test_numbers_in_names_are_ordered_by_their_value() -> None:
    names = ["10", "9", "Aves/2", "Aves/10", "id_00000002", "id_00000010", "1"]
    found = class_names([Picture(name, name) for name in names])
    assert found == ["1", "9", "10", "Aves/2", "Aves/10", "id_00000002", "id_00000010"]
