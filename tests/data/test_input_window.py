"""Where the network's input lies in the picture, held against the transform that cuts it out."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from shelfmark.data.images import decode_rgb
from shelfmark.data.input_window import Box, evaluation_window, resized_sides
from shelfmark.data.options import DataOptions
from shelfmark.data.transforms import eval_transform, evaluation_resize_px

NUMBERS = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
SETTINGS = [
    {"input_size_px": 32},
    {"input_size_px": 32, "eval_crop": 1.0},
    {"input_size_px": 31, "eval_crop": 0.8},
    {"input_size_px": 48, "eval_resize_px": [40]},
    {"input_size_px": 32, "eval_resize_px": [36, 44]},
    {"input_size_px": 33, "eval_resize_px": []},
]
SIDES = [(64, 64), (97, 60), (60, 101), (20, 30), (200, 5), (33, 700)]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_resized_sides_are_those_of_the_transform(settings: dict[str, object]) -> None:
    data = DataOptions(**NUMBERS, **settings)
    transform = eval_transform(data.input_size_px, data)
    resize_px = evaluation_resize_px(data.input_size_px, data)
    for height, width in SIDES[:4]:
        resized = transform.resized(np.zeros((height, width, 3), np.uint8))
        assert resized_sides(height, width, resize_px) == tuple(resized.shape[1:])


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("sides", SIDES, ids=str)
def test_a_ramp_across_the_picture_reads_its_own_coordinates_in_the_input(
    settings: dict[str, object], sides: tuple[int, int]
) -> None:
    data = DataOptions(**NUMBERS, **settings)
    (height, width), size = sides, data.input_size_px
    window = evaluation_window(height, width, size, data)
    for axis, side in enumerate((height, width)):
        ramp = np.linspace(10, 250, side)
        picture = np.empty((height, width, 3), np.uint8)
        picture[:] = ramp[:, None, None] if axis == 0 else ramp[None, :, None]
        seen = eval_transform(size, data)(picture, 0)[0].numpy() * 255
        line = seen[:, size // 2] if axis == 0 else seen[size // 2]
        start, length = (window.edges[1], window.edges.height) if axis == 0 else (window.edges[0], window.edges.width)
        places = start + (np.arange(size) + 0.5) / size * length
        # Away from the picture's ends, where the filter of the resize is cut off.
        reach = 2 * max(1.0, length / size)
        inner = (places > reach) & (places < side - reach)
        expected = np.interp(places, np.arange(side) + 0.5, ramp)
        np.testing.assert_allclose(line[inner], expected[inner], atol=2.5 + 240 / side / 4)
        outside = (places < 0) | (places > side)
        assert (line[outside] == 0).all()


def test_a_part_of_the_input_is_a_rectangle_of_the_picture_without_the_border() -> None:
    data = DataOptions(**NUMBERS, input_size_px=32, eval_crop=1.0)
    window = evaluation_window(100, 50, 32, data)
    assert window.edges == Box(0, 25, 50, 75)
    assert window.in_picture(Box(0.5, 0, 1, 0.5)) == Box(25, 25, 50, 50)
    assert window.in_picture(Box(0.5, 0, 1, 0.5)).as_json() == [25, 25, 25, 25]
    small = evaluation_window(20, 20, 40, DataOptions(**NUMBERS, input_size_px=40, eval_resize_px=[]))
    assert small.edges == Box(-10, -10, 30, 30)
    assert small.in_picture(Box(0, 0, 0.5, 0.5)) == Box(0, 0, 10, 10)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_coordinates_are_of_the_upright_picture_whatever_exif_says(orientation: int) -> None:
    upright = np.zeros((90, 60, 3), np.uint8)
    upright[12:30, 33:51] = 255
    undo = {1: None, 2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM"}
    undo |= {5: "TRANSPOSE", 6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}
    stored = Image.fromarray(upright)
    if undo[orientation]:
        stored = stored.transpose(Image.Transpose[undo[orientation]])
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    stored.save(stream, "PNG", exif=exif)
    pixels = decode_rgb(stream.getvalue(), "a.png")
    data = DataOptions(**NUMBERS, input_size_px=30, eval_crop=1.0)
    seen = eval_transform(30, data)(pixels, 0)[0].numpy()
    rows, columns = np.nonzero(seen > 0.5)
    part = Box(columns.min() / 30, rows.min() / 30, (columns.max() + 1) / 30, (rows.max() + 1) / 30)
    box = evaluation_window(*pixels.shape[:2], 30, data).in_picture(part)
    np.testing.assert_allclose(box, (33, 15, 51, 30), atol=1.01)
