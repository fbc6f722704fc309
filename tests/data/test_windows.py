"""Windows of pictures that are decoded only then, and at a part of their size: against pictures decoded whole."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms.v2 import functional

from shelfmark.data import jpeg
from shelfmark.data.images import Window, decode_rgb, open_picture, picture_of, read_rgb
from shelfmark.data.jpeg_head import jpeg_head
from shelfmark.data.sources import FileSource, UnreadableImage

ORIENTATION = 0x0112
WHOLE = (10**6, 10**6)
"""No window is as large, so none is decoded smaller."""


def jpeg_of(height: int, width: int, orientation: int = 1, mode: str = "RGB") -> bytes:
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 / width, y * 255 / height, (x * 5 + y * 3) % 256], axis=-1).astype(np.uint8)
    exif, stream = Image.Exif(), io.BytesIO()
    exif[ORIENTATION] = orientation
    Image.fromarray(pixels).convert(mode).save(stream, "JPEG", quality=90, exif=exif)
    return stream.getvalue()


def windows(height: int, width: int, number: int, step: int = 1) -> Iterator[Window]:
    """Drawn windows whose edges are multiples of `step`."""
    draw = np.random.default_rng(0)
    for _ in range(number):
        top, bottom = sorted(draw.choice(height // step + 1, 2, replace=False) * step)
        left, right = sorted(draw.choice(width // step + 1, 2, replace=False) * step)
        yield Window(int(top), int(left), int(bottom - top), int(right - left))


def cut(pixels: np.ndarray, window: Window, by: int = 1) -> np.ndarray:
    top, left, height, width = (edge // by for edge in window)
    return pixels[top : top + height, left : left + width]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_window_is_that_part_of_the_upright_picture(orientation: int) -> None:
    data = jpeg_of(45, 70, orientation)
    whole, picture = decode_rgb(data, "a"), picture_of(data, "a")
    assert (picture.height, picture.width) == whole.shape[:2]
    for window in windows(picture.height, picture.width, 20):
        np.testing.assert_array_equal(picture.window(window, WHOLE), cut(whole, window))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_a_window_at_a_part_of_the_size_is_that_part_of_the_small_picture(orientation: int, shrink: int) -> None:
    data = jpeg_of(96, 160, orientation)
    picture = picture_of(data, "a")
    height, width = picture.height, picture.width
    small = picture.window(Window(0, 0, height, width), (height // shrink, width // shrink))
    assert small.shape == (height // shrink, width // shrink, 3)
    # The decoder's own small picture, turned by Pillow in place of us.
    stored = Image.fromarray(jpeg.decode(data, shrink)[0])
    stored.getexif()[ORIENTATION] = orientation
    np.testing.assert_array_equal(small, np.asarray(ImageOps.exif_transpose(stored)))
    for window in windows(height, width, 10, step=shrink):
        least = (window.height // shrink, window.width // shrink)
        np.testing.assert_array_equal(picture.window(window, least), cut(small, window, shrink))


def test_edges_between_two_small_pixels_go_to_the_nearest_and_the_last_pixel_may_be_a_part() -> None:
    data = jpeg_of(45, 90)
    small, picture = jpeg.decode(data, 4)[0], picture_of(data, "a")
    assert small is not None
    assert small.shape == (12, 23, 3)
    # In quarters: 0.25 to 11.25 and 1.5 to 22.5 (up).
    np.testing.assert_array_equal(picture.window(Window(1, 6, 44, 84), (11, 21)), small[0:11, 2:23])


def test_no_window_is_ever_smaller_than_what_is_asked_for() -> None:
    data = jpeg_of(90, 141, orientation=6)
    picture = picture_of(data, "a")
    draw = np.random.default_rng(1)
    seen = set()
    for window in windows(picture.height, picture.width, 300):
        least = tuple(int(draw.integers(1, side + 1)) for side in window[2:])
        height, width = picture.window(window, least).shape[:2]
        assert height >= least[0]
        assert width >= least[1]
        seen.add(round(window.height / height))
        # Nor larger than it need be, at a half of the sides each time.
        assert height < 2 * least[0] + 1 or width < 2 * least[1] + 1 or window.height <= 8 * height
    assert seen >= {1, 2, 4, 8}


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_rows_below_the_window_are_left_out_and_those_above_stay_the_same(subsampling: int) -> None:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (100, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "JPEG", subsampling=subsampling)
    data, head = stream.getvalue(), jpeg_head(stream.getvalue())
    assert head is not None
    assert (head.height, head.width, head.is_plain, head.is_one_pass) == (100, 64, True, True)
    for shrink in jpeg.SHRINKS:
        whole, _ = jpeg.decode(data, shrink)
        for num_rows in range(1, 101):
            pixels, damaged = jpeg.decode(data, shrink, head, num_rows)
            assert not damaged
            assert pixels is not None
            assert num_rows <= len(pixels) * shrink <= num_rows + 32
            kept = -(-num_rows // shrink)
            np.testing.assert_array_equal(pixels[:kept], whole[:kept])


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_rows": 1}])
def test_jpegs_that_are_not_coded_in_one_pass_are_decoded_whole(options: dict[str, Any]) -> None:
    stream = io.BytesIO()
    with Image.open(io.BytesIO(jpeg_of(96, 64))) as image:
        image.save(stream, "JPEG", **options)
    head = jpeg_head(stream.getvalue())
    assert head is not None
    assert not head.is_one_pass
    pixels, damaged = jpeg.decode(stream.getvalue(), 1, head, 10)
    assert not damaged
    assert pixels is not None
    assert len(pixels) == 96


def test_damage_is_found_where_a_window_reaches_it() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 64, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "JPEG")
    data = stream.getvalue()
    cut_and_closed = data[: len(data) // 2] + b"\xff\xd9"
    upper = picture_of(cut_and_closed, "a").window(Window(0, 0, 30, 64), WHOLE)
    np.testing.assert_array_equal(upper, decode_rgb(data, "a")[:30])
    for window in (Window(0, 0, 90, 64), Window(100, 0, 28, 64)):
        with pytest.raises(UnreadableImage, match="damaged"):
            picture_of(cut_and_closed, "a").window(window, WHOLE)


def test_no_damage_of_a_head_is_an_error_of_its_own() -> None:
    draw, data = np.random.default_rng(0), jpeg_of(24, 24)
    begins = data.index(b"\xff\xda") + 14
    for _ in range(2000):
        spoilt = bytearray(data[: int(draw.integers(4, begins))] if draw.random() < 0.2 else data)
        for place in draw.integers(2, len(spoilt), 3):
            spoilt[place] = int(draw.integers(256))
        head = jpeg_head(bytes(spoilt))
        assert head is None or min(head[:4]) > 0


def resized(pixels: np.ndarray, size: int) -> torch.Tensor:
    return functional.resize(torch.from_numpy(pixels).permute(2, 0, 1), [size, size], antialias=True).float()


def test_photographs_differ_from_full_decoding_by_no_more_than_the_docs_say(grocery_root: Path) -> None:
    draw = np.random.default_rng(0)
    rms: dict[tuple[bool, int], list[float]] = {}
    for file in sorted(grocery_root.glob("train/**/*.jpg"))[::60]:
        data = file.read_bytes()
        whole, picture = decode_rgb(data, file.name), picture_of(data, file.name)
        for size, shrink in ((32, 2), (32, 4), (32, 8), (96, 2)):
            # A square of the input's size and up to a third more, at that part of the picture's size.
            side = min(int(draw.integers(size * shrink, size * shrink * 4 // 3)), *whole.shape[:2])
            top, left = (int(draw.integers(0, length - side + 1)) for length in whole.shape[:2])
            for aligned in (True, False):
                edges = np.array([top, left, side, side])
                window = Window(*map(int, edges // shrink * shrink if aligned else edges))
                small = picture.window(window, (size, size))
                assert abs(small.shape[0] - side / shrink) <= 1
                difference = resized(small, size) - resized(cut(whole, window), size)
                rms.setdefault((aligned, shrink), []).append(float(difference.square().mean().sqrt()))
    means = {key: float(np.mean(values)) for key, values in rms.items()}
    largest = {key: max(values) for key, values in rms.items()}
    assert all(means[True, shrink] <= most for shrink, most in ((2, 2.0), (4, 3.0), (8, 5.0))), means
    assert all(largest[True, shrink] <= 8 for shrink in (2, 4, 8)), largest
    # With edges that were rounded, which moves the window by up to half a pixel of the input.
    assert all(means[False, shrink] <= most for shrink, most in ((2, 7.0), (4, 7.0), (8, 9.0))), means


def test_a_jpeg_is_decoded_twice_at_most_for_all_windows_of_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    decode = jpeg.decode
    monkeypatch.setattr(jpeg, "decode", lambda data, shrink, *rows: asked.append(shrink) or decode(data, shrink, *rows))
    picture = picture_of(jpeg_of(96, 160), "a")
    assert asked == []
    # For the first window the rows that it reaches, and where these are too few, all rows.
    for window, decoded in (
        (Window(0, 0, 40, 20), [1]),
        (Window(10, 7, 30, 100), [1]),
        (Window(50, 0, 20, 20), [1, 1]),
        (Window(60, 0, 36, 20), [1, 1]),
    ):
        picture.window(window, WHOLE)
        assert asked == decoded
    picture.window(Window(0, 0, 96, 160), (48, 48))
    assert asked == [1, 1, 2]


@pytest.mark.parametrize("max_pixels", [10**6, 5000])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_row_with_a_box_is_that_part_of_its_picture(tmp_path: Path, orientation: int, max_pixels: int) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg_of(96, 160, orientation))
    boxes = np.array([[10, 20, 60, 50], [np.nan] * 4, [90, 90, 80, 80]], dtype=np.float32)
    source = FileSource(["a.jpg"] * 3, tmp_path, boxes=boxes, box_margin=0.1)
    for row in (0, 1):
        whole, picture = read_rgb(source, row, max_pixels), open_picture(source, row, max_pixels)
        assert (picture.height, picture.width) == whole.shape[:2]
        for window in windows(picture.height, picture.width, 10):
            np.testing.assert_array_equal(picture.window(window, WHOLE), cut(whole, window))
    with pytest.raises(UnreadableImage, match="box outside of the picture"):
        open_picture(source, 2, max_pixels)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_are_read_as_when_decoded_whole(mode: str) -> None:
    data = jpeg_of(64, 64, mode=mode)
    window = Window(3, 5, 40, 50)
    np.testing.assert_array_equal(picture_of(data, "a").window(window, WHOLE), cut(decode_rgb(data, "a"), window))


def test_other_formats_and_jpegs_of_too_many_pixels_are_decoded_whole() -> None:
    data = jpeg_of(96, 160)
    picture = picture_of(data, "a", max_pixels=5000)
    assert (picture.height, picture.width) == (48, 80)
    stream = io.BytesIO()
    Image.fromarray(decode_rgb(data, "a")).save(stream, "PNG")
    whole = picture_of(stream.getvalue(), "a").window(Window(8, 0, 88, 160), (2, 2))
    np.testing.assert_array_equal(whole, decode_rgb(data, "a")[8:])


def test_what_cannot_be_read_whole_cannot_be_read_in_parts() -> None:
    data = jpeg_of(96, 160)
    for spoilt, reason in (
        (data[: len(data) // 2], "truncated"),
        (data[: len(data) // 2] + b"\xff\xd9", "damaged"),
        (b"no picture", "not a JPEG"),
        (data[:30], "damaged|truncated"),
    ):
        with pytest.raises(UnreadableImage) as whole:
            decode_rgb(spoilt, "a.jpg")
        for least in (WHOLE, (2, 2)):
            with pytest.raises(UnreadableImage, match=reason) as part:
                picture_of(spoilt, "a.jpg").window(Window(0, 0, 96, 160), least)
            assert str(part.value) == str(whole.value)
