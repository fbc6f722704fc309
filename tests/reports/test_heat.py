"""Heat over a picture at the size of a thumbnail: where it is dark, where a region is outlined, what was not seen."""

from __future__ import annotations

import numpy as np
import pytest

from shelfmark.data.input_window import Box
from shelfmark.reports.heat import Mark, about_what_was_seen, heat_thumbnails, ramp

WHITE = np.full((100, 200, 3), 255, np.uint8)


def test_the_darkest_place_is_the_peak_and_nothing_below_zero_is_drawn() -> None:
    heat = np.full((100, 200), -3.0, np.float32)
    heat[60:80, 120:160] = 2.0
    heat[10:30, 20:60] = 1.0
    plain, drawn = heat_thumbnails(WHITE, heat, [], 100)
    assert plain.shape == drawn.shape == (50, 100, 3)
    assert plain.min() == 255
    peak, half, none = drawn[35, 70], drawn[10, 20], drawn[45, 10]
    assert peak == pytest.approx([8, 48, 107], abs=2)
    assert half == pytest.approx([(255 + one) / 2 for one in (8, 48, 107)], abs=2)
    assert none == pytest.approx([255] * 3, abs=1)


def test_a_region_is_outlined_at_its_edges_and_has_its_sign_on_white() -> None:
    heat = np.zeros((100, 200), np.float32)
    marks = [Mark([Box(40, 20, 120, 60), Box(120, 20, 160, 40)], "1"), Mark([Box(100, 70, 180, 90)], "A", True)]
    _, drawn = heat_thumbnails(np.zeros_like(WHITE), heat, marks, 100)
    grey = drawn.mean(axis=2)
    ground = grey[5, 5]
    # The picture is halved: the edges are at x = 20 and 80, y = 10, 20 and 30. The edge between both boxes is none.
    for row, column in ((27, 20), (29, 45), (15, 79), (19, 70)):
        assert grey[row, column] > 250, (row, column)
        assert grey[row - 2 : row + 3, column - 2 : column + 3].min() < 5, (row, column)
    assert grey[15, 59:62] == pytest.approx([ground] * 3, abs=2)
    # Whole lines are white all along, dashes half of the way.
    assert (grey[29, 24:58] > 250).all()
    assert 0.3 < (grey[44, 55:88] > 250).mean() < 0.7
    assert {tuple(one) for one in drawn[10:12, 22:26].reshape(-1, 3).tolist()} <= {(0, 0, 0), (255, 255, 255)}


def test_what_was_not_seen_is_striped_and_far_ends_are_left_out() -> None:
    heat = np.full((100, 200), np.nan, np.float32)
    heat[:, :100] = 1.0
    kept, values, [mark] = about_what_was_seen(WHITE, heat, [Mark([Box(0, 0, 10, 10)], "1")])
    assert kept.shape == (100, 120, 3)
    assert np.isnan(values).sum() == 100 * 20
    assert mark.parts == [Box(0, 0, 10, 10)]
    _, drawn = heat_thumbnails(WHITE, heat, [], 120)
    unseen = drawn[:, 105:].reshape(-1, 3)
    assert 0.1 < (unseen == 128).all(axis=1).mean() < 0.25
    assert (unseen.max(axis=1) - unseen.min(axis=1)).max() <= 1
    assert drawn[50, 50] == pytest.approx([8, 48, 107], abs=2)


def test_the_ramp_falls_in_lightness_without_a_step() -> None:
    lightness = ramp(np.linspace(0, 1, 50)) @ np.array([0.2126, 0.7152, 0.0722])
    steps = np.diff(lightness)
    assert (steps < 0).all()
    assert steps == pytest.approx(steps.mean(), abs=1e-6)


def test_a_picture_of_one_pixel_is_drawn_too() -> None:
    plain, drawn = heat_thumbnails(WHITE[:1, :1], np.ones((1, 1), np.float32), [Mark([Box(0, 0, 1, 1)], "1")], 96)
    assert plain.shape == drawn.shape == (96, 96, 3)
