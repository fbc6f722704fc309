"""The larger shop: what is in it, and that it never changes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from shelfmark.cli import main
from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json, sha256_json
from shelfmark.data.annotations import read_annotations
from shelfmark.shop.large_shop import (
    ANNOTATION_SHA256,
    LargeShop,
    is_large_shop,
    labels_of,
    large_catalogue,
    large_picture,
    large_shop_files,
)

LARGE = LargeShop()
# Mean red, green and blue of some pictures.
MEAN_COLOR = {
    ("train", 0): (157.4, 134.0, 120.9),
    ("val", 3000): (95.1, 88.0, 80.3),
    ("novel", 700): (119.3, 115.8, 118.5),
}


def test_it_is_frozen() -> None:
    files = large_shop_files(LARGE)
    assert {name: sha256_json(files[name]) for name in ANNOTATION_SHA256} == ANNOTATION_SHA256
    for (split, index), color in MEAN_COLOR.items():
        pixels = cv2.imdecode(np.frombuffer(large_picture(LARGE, split, index), np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_allclose(pixels[..., ::-1].mean(axis=(0, 1)), color, atol=1.0)


def test_products_never_seen_are_of_families_that_are_never_trained() -> None:
    sold = large_catalogue(LARGE)
    assert (len(sold.trained), len(sold.novel)) == (400, 200)
    families = [{sku.family.name for sku in part} for part in (sold.trained, sold.novel)]
    assert [len(part) for part in families] == [80, 40]
    assert not families[0] & families[1]
    assert len({sku.name for part in (sold.trained, sold.novel) for sku in part}) == 600
    counts = np.bincount(labels_of(LARGE, "train"))
    assert (counts.max(), counts.min()) == (60, 4)


def test_a_small_one_is_written_whole_and_known_again(tmp_path: Path) -> None:
    words = ["prepare", "shop", "--skus", "10", "--out", str(tmp_path / "shop")]
    assert main(words) == 0
    assert is_large_shop(tmp_path / "shop", LargeShop(10))
    assert not is_large_shop(tmp_path / "shop", LargeShop(15))
    table = read_annotations(tmp_path / "shop" / "train.json", tmp_path / "shop")
    assert len(table) == len(labels_of(LargeShop(10), "train"))
    assert (tmp_path / "shop/val/000003.jpg").read_bytes() == large_picture(LargeShop(10), "val", 3)
    assert read_json(tmp_path / "shop" / "retrieval.json")["num_classes"] == 5
    assert main(words) == 0
    assert main([*words[:3], "15", *words[4:]]) == 2


@pytest.mark.parametrize("number", [0, 7, 5000])
def test_a_number_of_skus_that_makes_no_families_is_refused(number: int) -> None:
    with pytest.raises(UserError, match="a multiple of 5"):
        LargeShop(number)
