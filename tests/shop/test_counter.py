"""The photographs that come to the counter."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shelfmark.shop import counter as counter_module
from shelfmark.shop.catalogue import catalogue
from shelfmark.shop.counter import Counter, never_sold, visitor_picture, visits, write_counter

# Of some pictures: mean red, green, blue.
MEAN_COLOR = {
    0: (134.6, 105.3, 96.9),
    700: (181.4, 164.0, 122.5),
    1440: (114.6, 118.2, 146.4),
    2039: (146.8, 98.7, 83.1),
}
SMALL = Counter(known_each=1, num_unseen=6, unseen_each=2)


def test_no_product_never_sold_is_of_a_family_of_the_shop_and_no_two_share_a_name() -> None:
    for seed in (0, 1, 2):
        strange, sold = never_sold(Counter(seed)), catalogue(seed)
        families = {sku.family.name for sku in (*sold.trained, *sold.novel)}
        assert len({sku.name for sku in strange}) == len(strange) == 200
        assert not families & {sku.family.name for sku in strange}


def test_every_trained_product_comes_with_as_many_photographs_in_a_folder_of_its_name(tmp_path: Path) -> None:
    write_counter(tmp_path / "counter", SMALL, num_workers=1)
    files = {
        str(file.relative_to(tmp_path / "counter")) for file in (tmp_path / "counter").rglob("*") if file.is_file()
    }
    assert files == {visit.file for visit in visits(SMALL)}
    known = {sku.name for sku in catalogue(0).trained}
    counts = {folder.name: len(list(folder.iterdir())) for folder in (tmp_path / "counter").iterdir()}
    assert {name: count for name, count in counts.items() if name in known} == dict.fromkeys(known, 1)
    assert sorted(count for name, count in counts.items() if name not in known) == [2] * 6


def test_two_processes_get_tasks_that_can_be_sent_to_them_and_draw_what_one_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sent(work: Callable[..., None], tasks: Sequence[tuple[Any, ...]], num_workers: int) -> None:
        assert (num_workers, len(tasks)) == (2, 2)
        # What comes first does not matter.
        for one in reversed(tasks):
            there, given = pickle.loads(pickle.dumps((work, one)))
            there(*given)

    monkeypatch.setattr(counter_module, "drawn", sent)
    write_counter(tmp_path / "counter", SMALL)
    files = [tmp_path / "counter" / visit.file for visit in visits(SMALL)]
    assert len(files) == 132
    assert all(file.is_file() for file in files)
    for index in (0, 127, 128, 131):
        assert files[index].read_bytes() == visitor_picture(SMALL, index)


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    write_counter(tmp_path, SMALL, num_workers=1)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_the_photographs_are_frozen() -> None:
    # With a tolerance: another JPEG or SIMD library may differ in the last bit.
    for index, color in MEAN_COLOR.items():
        pixels = np.asarray(Image.open(io.BytesIO(visitor_picture(Counter(), index))))
        np.testing.assert_allclose(pixels.mean(axis=(0, 1)), color, atol=1.0, err_msg=str(index))
