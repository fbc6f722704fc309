"""The picture of a shelf: boxes where they are, and what their signs mean."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from shelfmark.reports.figures import png
from shelfmark.reports.shelf_picture import LINES, SignedBox, shelf_figure


def drawn(boxes: list[SignedBox]) -> tuple[np.ndarray, float]:
    """The rendered figure's part with a grey photograph of 400 x 300, and how often it is enlarged."""
    figure = shelf_figure(np.full((300, 400, 3), 128, np.uint8), boxes, [])
    pixels = np.asarray(Image.open(io.BytesIO(png(figure))).convert("L")).astype(int)
    place = figure.axes[0].get_position()
    top, bottom = (round((1 - edge) * pixels.shape[0]) for edge in (place.y1, place.y0))
    left, right = (round(edge * pixels.shape[1]) for edge in (place.x0, place.x1))
    return pixels[top:bottom, left:right], (right - left) / 400


def test_a_box_is_drawn_on_its_edges_and_nowhere_else() -> None:
    pixels, scale = drawn([SignedBox((100, 60, 200, 150), "product", "")])
    rows, columns = np.nonzero(np.abs(pixels - 128) > 20)
    found = np.array([columns.min(), rows.min(), columns.max(), rows.max()]) / scale
    assert found == pytest.approx([100, 60, 300, 210], abs=1.5)
    inner = pixels[round(63 * scale) : round(207 * scale), round(103 * scale) : round(297 * scale)]
    assert np.abs(inner - 128).max() <= 20
    # The line has black and white, so that it shows on any picture.
    edge = pixels[round(120 * scale), round(97 * scale) : round(103 * scale)]
    assert edge.min() < 60
    assert edge.max() > 190


def test_the_kind_of_an_answer_is_seen_without_colour() -> None:
    light = {}
    for kind in ("product", "shortlist", "unknown"):
        pixels, scale = drawn([SignedBox((100, 60, 200, 150), kind, "")])
        upper = pixels[round(58 * scale) : round(62 * scale), round(110 * scale) : round(290 * scale)]
        light[kind] = (upper.max(axis=0) > 170).mean()
    assert light["product"] == 1
    assert 0.4 < light["shortlist"] < 0.9
    assert light["unknown"] < light["shortlist"] - 0.1


def test_lines_of_any_script_stand_below_with_the_key_of_the_lines() -> None:
    figure = shelf_figure(np.zeros((40, 60, 3), np.uint8), [], ["1: 绿茶 250g, 3 boxes", "2: " + "long name " * 40])
    texts = [text.get_text() for text in figure.texts]
    assert texts[0] == "1: 绿茶 250g, 3 boxes"
    assert texts[-1] == LINES
    assert len(texts) > 3
