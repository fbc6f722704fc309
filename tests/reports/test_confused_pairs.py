from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from pictures import has_color, picture_in, pixels
from PIL import Image

from shelfmark.ops.confusions import ConfusedPair
from shelfmark.reports.confused_pairs import ShownPair, confused_pairs_sheet, write_confused_pairs

RED, GREEN, EMPTY = "#ff0000", "#00ff00", "#ececec"


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    for name, color, size in (("red", RED, (300, 100)), ("green", GREEN, (20, 40))):
        Image.new("RGB", size, color).save(tmp_path / f"{name}.png")
    return tmp_path / "red.png", tmp_path / "green.png"


def _shown(picture: Path | None, other: Path | None, name: str = "Oat milk") -> ShownPair:
    shown = [None if one is None else picture_in(one) for one in (picture, other)]
    return ShownPair(ConfusedPair(7, 3, 2, 8), name, "Soy milk, 1 l", *shown)


def test_the_file_has_a_row_for_each_pair(tmp_path: Path) -> None:
    write_confused_pairs([_shown(None, None)], tmp_path / "pairs.csv")
    with open(tmp_path / "pairs.csv", newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["class_id", "class_name", "predicted_id", "predicted_name", "images", "images_of_class", "share"],
            ["7", "Oat milk", "3", "Soy milk, 1 l", "2", "8", "0.25"],
        ]
    write_confused_pairs([], tmp_path / "none.csv")
    assert (tmp_path / "none.csv").read_text().startswith("class_id,")


def test_the_true_class_stands_left_of_the_predicted_one(tmp_path: Path, pictures: tuple[Path, Path]) -> None:
    confused_pairs_sheet([_shown(*pictures)], tmp_path / "sheet.png")
    found = pixels(tmp_path / "sheet.png")
    left, right = ((np.abs(found - color).sum(axis=2) < 12).nonzero() for color in ([255, 0, 0], [0, 255, 0]))
    assert left[1].max() < right[1].min()
    # Whole pictures: three times as wide as high, and half as wide as high.
    for (rows, columns), ratio in ((left, 3), (right, 0.5)):
        assert np.ptp(columns) / np.ptp(rows) == pytest.approx(ratio, rel=0.05)


def test_a_picture_that_is_not_there_leaves_a_grey_square(tmp_path: Path, pictures: tuple[Path, Path]) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    for missing in (None, tmp_path / "missing.jpg", tmp_path / "broken.jpg"):
        confused_pairs_sheet([_shown(pictures[1], missing)], tmp_path / "sheet.png")
        found = pixels(tmp_path / "sheet.png")
        assert (np.abs(found - 0xEC).sum(axis=2) == 0).sum() >= 112 * 112
        assert has_color(tmp_path / "sheet.png", GREEN)


def test_the_sheet_grows_by_a_row_for_five_pairs(tmp_path: Path) -> None:
    heights = {}
    for number in (0, 1, 5, 6):
        confused_pairs_sheet([_shown(None, None)] * number, tmp_path / "sheet.png")
        heights[number] = pixels(tmp_path / "sheet.png").shape[0]
    assert heights[1] == heights[5]
    assert heights[6] - heights[5] == heights[1] - heights[0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["$a_{x$ milk", "x" * 300, "W" * 300, "农夫山泉饮用天然水" * 9, ""])
def test_any_name_fits_into_its_place(tmp_path: Path, name: str) -> None:
    confused_pairs_sheet([_shown(None, None), _shown(None, None, name)], tmp_path / "sheet.png")
    # Between a name and the next place, and beside the last one, nothing is written.
    captions = pixels(tmp_path / "sheet.png")[64 + 112 + 2 : 64 + 112 + 20]
    assert (captions[:, 12 + 252 + 228 : 12 + 2 * 252] == 255).all()
    assert (captions[:, 12 + 252 : 12 + 252 + 228] < 200).any() == bool(name)
