"""The shop for discovery: which products are known, which pictures labelled, and what is tested."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from shelfmark.core.errors import UserError
from shelfmark.data.annotations import read_annotations
from shelfmark.shop.discovery_shop import known_products, labelled_pictures, write_discovery_shop


@pytest.fixture(scope="module")
def records(shop_root: Path) -> list[dict]:
    return json.loads(write_discovery_shop(shop_root).read_text())["annotations"]


def true_class(record: dict) -> int:
    return record["true_category_id"] if record["category_id"] is None else record["category_id"]


def test_half_of_the_products_are_known_and_the_test_has_none_of_them(shop_root: Path, records: list[dict]) -> None:
    classes = {role: {true_class(one) for one in records if one["role"] == role} for role in ("labelled", "test")}
    everything = json.loads((shop_root / "train.json").read_text())
    assert len(classes["labelled"]) == everything["num_classes"] // 2 == 60
    assert not classes["labelled"] & classes["test"]
    groups = everything["groups"]
    known = Counter(groups[label] for label in classes["labelled"])
    assert all(0 < known[group] < groups.count(group) for group in set(groups))


def test_known_and_unknown_products_are_of_the_same_sizes(records: list[dict]) -> None:
    sizes = Counter(true_class(one) for one in records if one["role"] in ("labelled", "unlabelled"))
    known = {one["category_id"] for one in records if one["role"] == "labelled"}
    ours, others = (sorted(sizes[label] for label in sizes if (label in known) == wanted) for wanted in (True, False))
    assert len(ours) == len(others) == 60
    assert max(abs(a - b) for a, b in zip(ours, others)) <= 5


def test_of_a_known_product_floor_of_six_tenths_and_one_more_are_labelled(records: list[dict]) -> None:
    of_role = {
        role: Counter(true_class(one) for one in records if one["role"] == role) for role in ("labelled", "unlabelled")
    }
    for label, labelled in of_role["labelled"].items():
        assert labelled == 6 * (labelled + of_role["unlabelled"][label]) // 10 + 1


def test_an_unlabelled_picture_has_no_label_but_the_truth_beside(shop_root: Path, records: list[dict]) -> None:
    table = read_annotations(shop_root / "discovery.json", shop_root)
    hidden = np.array([one["role"] == "unlabelled" for one in records])
    assert (table.labels[hidden] == -1).all()
    assert table.true_labels is not None
    assert (table.true_labels[hidden] >= 0).all()
    assert len({one["fpath"] for one in records}) == len(records)


def test_the_same_seed_writes_the_same_bytes(shop_root: Path) -> None:
    file = shop_root / "discovery.json"
    before = write_discovery_shop(shop_root).read_bytes()
    assert write_discovery_shop(shop_root).read_bytes() == before == file.read_bytes()


@pytest.mark.parametrize("seed", range(5))
def test_every_family_is_divided_whatever_the_seed(seed: int) -> None:
    counts = np.arange(20, 0, -1)
    groups = [f"family {index % 4}" for index in range(20)]
    is_known = known_products(counts, groups, seed)
    assert is_known.sum() == 10
    assert (is_known[0::2] != is_known[1::2]).all()
    for family in set(groups):
        mine = np.array([group == family for group in groups])
        assert 0 < is_known[mine].sum() < mine.sum()


@pytest.mark.parametrize("size", [1, 2, 4, 5, 10, 149])
def test_the_labelled_part_of_a_product_follows_the_formula(size: int) -> None:
    chosen = labelled_pictures(np.repeat([0, 1], [size, 3]), seed=0)
    assert chosen[:size].sum() == 6 * size // 10 + 1
    assert chosen[size:].sum() == 2


def test_a_folder_without_a_shop_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="prepare shop"):
        write_discovery_shop(tmp_path)
