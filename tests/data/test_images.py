"""Pictures of every kind, compared with Pillow; and every way in which one cannot be read."""

from __future__ import annotations

import io
import os
import pickle
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from shelfmark.core.errors import UserError
from shelfmark.data import jpeg
from shelfmark.data.images import read_rgb
from shelfmark.data.limits import MAX_BYTES, MAX_PIXELS
from shelfmark.data.sources import FileSource, UnreadableImage

ORIENTATION = 0x0112


@pytest.fixture
def pixels() -> np.ndarray:
    """A smooth picture, no two corners alike."""
    y, x = np.mgrid[0:24, 0:37]
    return np.stack([x * 6, y * 10, 255 - x * 3 - y * 2], axis=-1).astype(np.uint8)


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def by_pillow(data: bytes) -> np.ndarray:
    return np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def read_file(path: Path, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    return read_rgb(FileSource([str(path)], max_bytes=max_bytes), 0, max_pixels)


def read(folder: Path, data: bytes) -> np.ndarray:
    (folder / "picture").write_bytes(data)
    result = read_file(folder / "picture")
    assert result.dtype == np.uint8
    assert result.flags.writeable
    return result


def reason_for(folder: Path, data: bytes) -> str:
    with pytest.raises(UnreadableImage) as caught:
        read(folder, data)
    return caught.value.reason


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_lossless_formats_give_the_very_pixels(tmp_path: Path, pixels: np.ndarray, kind: str, options: dict) -> None:
    np.testing.assert_array_equal(read(tmp_path, encoded(Image.fromarray(pixels), kind, **options)), pixels)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 60, "subsampling": 0}])
def test_a_jpeg_has_the_pixels_that_pillow_gives(tmp_path: Path, pixels: np.ndarray, options: dict) -> None:
    data = encoded(Image.fromarray(pixels), "JPEG", **options)
    np.testing.assert_array_equal(read(tmp_path, data), by_pillow(data))


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(tmp_path: Path, pixels: np.ndarray) -> None:
    data = encoded(Image.fromarray(pixels), "JPEG")
    for tail in (b"\0" * 300, b"a phone's notes"):
        np.testing.assert_array_equal(read(tmp_path, data + tail), by_pillow(data))


def test_photographs_have_the_pixels_that_pillow_gives(grocery_root: Path) -> None:
    photographs = sorted(grocery_root.glob("val/**/*.jpg"))[::40]
    assert photographs
    for photograph in photographs:
        np.testing.assert_array_equal(read_file(photograph), by_pillow(photograph.read_bytes()))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_orientation_is_applied(tmp_path: Path, pixels: np.ndarray, kind: str) -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        data = encoded(Image.fromarray(pixels), kind, exif=exif)
        result = read(tmp_path, data)
        assert result.shape == ((24, 37, 3) if orientation <= 4 else (37, 24, 3))
        np.testing.assert_array_equal(result, by_pillow(data))


def test_a_heic_is_turned_once(tmp_path: Path, pixels: np.ndarray) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    for orientation in range(1, 9):
        picture = Image.fromarray(pixels)
        picture.getexif()[ORIENTATION] = orientation
        upright = np.array(ImageOps.exif_transpose(picture), dtype=int)
        result = read(tmp_path, encoded(picture, "HEIF", quality=100, chroma=444))
        assert result.shape == upright.shape
        assert np.abs(result - upright).max() <= 6


def test_a_tiff_of_numbers_that_are_no_colours_is_refused(tmp_path: Path) -> None:
    for numbers in (np.linspace(0, 1, 12, dtype=np.float32), np.arange(12, dtype=np.int32)):
        data = encoded(Image.fromarray(numbers.reshape(3, 4)), "TIFF")
        assert reason_for(tmp_path, data) == "numbers of 32 bits in place of colours; save it with 8 or 16 bits"
    grey = np.linspace(0, 65535, 12).reshape(3, 4).astype(np.uint16)
    result = read(tmp_path, encoded(Image.fromarray(grey), "TIFF"))
    np.testing.assert_array_equal(result, np.repeat((grey >> 8)[..., None], 3, axis=-1))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0junkjunk", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0"])
def test_damaged_exif_data_leaves_the_picture_as_it_is(tmp_path: Path, pixels: np.ndarray, exif: bytes) -> None:
    plain = encoded(Image.fromarray(pixels), "JPEG")
    np.testing.assert_array_equal(read(tmp_path, encoded(Image.fromarray(pixels), "JPEG", exif=exif)), by_pillow(plain))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_grey_becomes_three_equal_channels(tmp_path: Path, pixels: np.ndarray, kind: str) -> None:
    data = encoded(Image.fromarray(pixels[..., 0]), kind)
    result = read(tmp_path, data)
    np.testing.assert_array_equal(result, by_pillow(data))
    np.testing.assert_array_equal(result[..., 0], result[..., 2])


def test_sixteen_bits_keep_their_upper_bytes(tmp_path: Path, pixels: np.ndarray) -> None:
    grey = np.linspace(0, 65535, 24 * 37).reshape(24, 37).astype(np.uint16)
    result = read(tmp_path, encoded(Image.fromarray(grey), "PNG"))
    np.testing.assert_array_equal(result, np.repeat((grey >> 8)[..., None], 3, axis=-1))
    _, data = cv2.imencode(".png", (pixels.astype(np.uint16) * 256 + 200)[..., ::-1])
    np.testing.assert_array_equal(read(tmp_path, data.tobytes()), pixels)


def test_black_and_white_becomes_0_and_255(tmp_path: Path) -> None:
    mask = np.eye(9, dtype=bool)
    result = read(tmp_path, encoded(Image.fromarray(mask), "PNG"))
    np.testing.assert_array_equal(result, np.repeat(mask[..., None] * np.uint8(255), 3, axis=-1))


def over_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    part = alpha[..., None] / 255
    return pixels * part + 255 * (1 - part)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_alpha_is_laid_over_white(tmp_path: Path, pixels: np.ndarray, kind: str) -> None:
    alpha = np.linspace(0, 255, 24 * 37).reshape(24, 37).astype(np.uint8)
    rgba = Image.fromarray(np.dstack([pixels, alpha]))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    result = read(tmp_path, encoded(rgba, kind, **options))
    np.testing.assert_allclose(result, over_white(pixels, alpha), atol=1)


def test_grey_with_alpha_is_laid_over_white(tmp_path: Path, pixels: np.ndarray) -> None:
    alpha = np.full((24, 37), 51, dtype=np.uint8)
    grey = Image.merge("LA", [Image.fromarray(pixels[..., 0]), Image.fromarray(alpha)])
    expected = over_white(np.repeat(pixels[..., :1], 3, axis=-1), alpha)
    np.testing.assert_allclose(read(tmp_path, encoded(grey, "PNG")), expected, atol=1)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palette_is_looked_up_and_its_transparent_entry_is_white(tmp_path: Path, kind: str) -> None:
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8), "P")
    picture.putpalette([250, 0, 0, 0, 240, 0, 0, 0, 230])
    red, green, blue = [250, 0, 0], [0, 240, 0], [0, 0, 230]
    np.testing.assert_array_equal(read(tmp_path, encoded(picture, kind)), [[red, green], [blue, green]])
    clear = encoded(picture, kind, transparency=1)
    np.testing.assert_array_equal(read(tmp_path, clear), [[red, [255] * 3], [blue, [255] * 3]])


def test_the_transparent_colour_of_an_rgb_picture_is_white(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[[1, 2, 3], [9, 9, 9]]], dtype=np.uint8))
    np.testing.assert_array_equal(
        read(tmp_path, encoded(picture, "PNG", transparency=(1, 2, 3))), [[[255, 255, 255], [9, 9, 9]]]
    )


def test_a_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    reddish = Image.new("RGB", (32, 32), (200, 30, 40))
    data = encoded(reddish.convert("CMYK"), "JPEG", quality=95)
    result = read(tmp_path, data)
    np.testing.assert_array_equal(result, by_pillow(data))
    np.testing.assert_allclose(result.mean(axis=(0, 1)), [200, 30, 40], atol=4)


def test_of_several_frames_the_first_counts(tmp_path: Path, pixels: np.ndarray) -> None:
    first, second = Image.fromarray(pixels), Image.fromarray(255 - pixels)
    for kind, options in (("WEBP", {"lossless": True}), ("MPO", {"quality": 95})):
        data = encoded(first, kind, save_all=True, append_images=[second], **options)
        np.testing.assert_allclose(read(tmp_path, data).astype(int), pixels, atol=25)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"])
def test_a_file_that_ends_early_is_an_error_and_not_a_half_grey_picture(tmp_path: Path, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    for kept in (0.1, 0.5, 0.8, 0.95):
        assert reason_for(tmp_path, data[: int(len(data) * kept)])


def test_a_jpeg_cut_within_its_pixels_is_called_truncated(tmp_path: Path, pixels: np.ndarray) -> None:
    data = encoded(Image.fromarray(pixels), "JPEG")
    assert reason_for(tmp_path, data[:-20]) == "truncated"
    assert reason_for(tmp_path, data[:-2]) == "truncated"


@pytest.mark.parametrize("lost", [20, 200, 2000])
def test_a_jpeg_whose_end_is_filled_up_with_zeros_is_truncated(tmp_path: Path, lost: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), "JPEG", quality=95)
    filled = data[:-lost] + bytes(lost)
    Image.open(io.BytesIO(filled)).load()  # Without a complaint: the zeros decode as grey.
    assert reason_for(tmp_path, filled) == "truncated"


def noisy_jpeg(**options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return encoded(Image.fromarray(noise), "JPEG", quality=90, **options)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": Image.Exif()}])
@pytest.mark.parametrize("tail", [b"", b"\0" * 9, b"a phone's notes"])
def test_a_jpeg_that_was_cut_and_closed_is_damaged(tmp_path: Path, options: dict, tail: bytes) -> None:
    if "exif" in options:
        options["exif"][ORIENTATION] = 6
    data = noisy_jpeg(**options)
    for kept in (0.5, 0.7, 0.99):
        assert reason_for(tmp_path, data[: int(len(data) * kept)] + b"\xff\xd9" + tail) == "damaged"


def test_a_cmyk_jpeg_that_was_cut_and_closed_is_damaged(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 4), dtype=np.uint8)
    data = encoded(Image.fromarray(noise, "CMYK"), "JPEG")
    assert read(tmp_path, data).shape == (64, 64, 3)
    assert reason_for(tmp_path, data[: len(data) // 2] + b"\xff\xd9") == "damaged"


def test_a_jpeg_with_a_sector_of_other_bytes_is_damaged(tmp_path: Path) -> None:
    data = bytearray(noisy_jpeg())
    middle = len(data) // 2
    data[middle : middle + 512] = np.random.default_rng(1).integers(0, 255, 512, dtype=np.uint8).tobytes()
    assert reason_for(tmp_path, bytes(data)) == "damaged"


def share_found(photographs: list[bytes], num_bytes: int) -> float:
    """The part of photographs found damaged when so many bytes within their pixels are drawn anew; 0 cuts them."""
    draw = np.random.default_rng(num_bytes)
    found = 0
    for data in photographs:
        begin = data.index(b"\xff\xda") + 14
        at = int(draw.integers(begin, len(data) - 2 - num_bytes))
        drawn = draw.integers(0, 256, num_bytes, dtype=np.uint8).tobytes()
        spoilt = data[:at] + drawn + data[at + num_bytes :] if num_bytes else data[:at] + b"\xff\xd9"
        pixels, damaged = jpeg.decode(spoilt)
        found += damaged or pixels is None
    return found / len(photographs)


def test_what_is_found_of_each_damage_is_at_least_what_the_docs_say(grocery_root: Path) -> None:
    photographs = [path.read_bytes() for path in sorted(grocery_root.glob("train/**/*.jpg"))[::13]]
    assert not any(jpeg.decode(data)[1] for data in photographs)
    least = {0: 1.0, 4096: 1.0, 512: 0.96, 128: 0.75, 16: 0.35, 1: 0.1}
    shares = {num_bytes: share_found(photographs, num_bytes) for num_bytes in least}
    assert all(shares[num_bytes] >= least[num_bytes] for num_bytes in least), shares


@pytest.mark.parametrize("filling", [b"\0", b"\xff"])
def test_filling_before_the_end_of_a_jpeg_is_no_damage(tmp_path: Path, filling: bytes) -> None:
    data = noisy_jpeg()
    for number in (1, 2, 3, 40):
        np.testing.assert_array_equal(read(tmp_path, data[:-2] + number * filling + data[-2:]), by_pillow(data))
    assert reason_for(tmp_path, data[:-2] + b"\x12\x34" * 20 + data[-2:]) == "damaged"
    assert reason_for(tmp_path, data[:-2] + b"\x12\x34\x56" * 2 + 34 * b"\0" + data[-2:]) == "damaged"


def test_what_others_write_to_the_standard_error_meanwhile_still_gets_there(capfd: pytest.CaptureFixture[str]) -> None:
    data, over = noisy_jpeg(), threading.Event()
    cut = data[: len(data) // 2] + b"\xff\xd9"

    def speak() -> None:
        for number in range(300):
            os.write(2, b"line %d\n" % number)
        over.set()

    speaker = threading.Thread(target=speak)
    speaker.start()
    while not over.is_set():
        assert jpeg.decode(cut)[1]
        assert not jpeg.decode(data)[1]
    speaker.join()
    assert sorted(capfd.readouterr().err.split("\n")) == sorted(["", *(f"line {number}" for number in range(300))])


def test_each_thread_hears_of_its_own_picture() -> None:
    data = noisy_jpeg()
    cut = data[: len(data) // 2] + b"\xff\xd9"
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda one: jpeg.decode(one)[1], [cut, data, data, cut] * 25))
    assert found == [True, False, False, True] * 25


def test_of_a_picture_with_too_many_pixels_our_own_error_alone_is_told(tmp_path: Path) -> None:
    # One bit a pixel, all of one colour: 130 million pixels in few bytes.
    (tmp_path / "a.png").write_bytes(encoded(Image.new("1", (13_000, 10_000)), "PNG"))
    code = "import sys; from shelfmark.data.images import decode_rgb; decode_rgb(open(sys.argv[1], 'rb').read(), 'a')"
    # In a process of its own: pytest has filters of warnings for each test.
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.png"], capture_output=True, text=True, check=False)
    assert "more pixels than data.max_image_pixels" in done.stderr
    assert "DecompressionBomb" not in done.stderr


def test_a_picture_whose_bytes_were_overwritten_is_damaged(tmp_path: Path, pixels: np.ndarray) -> None:
    data = bytearray(encoded(Image.fromarray(pixels), "PNG"))
    data[60:90] = bytes(30)
    assert reason_for(tmp_path, bytes(data)) == "damaged"


def test_each_way_to_fail_names_the_path_the_reason_and_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    (tmp_path / "folder.jpg").mkdir()
    for name, reason in [
        ("nowhere.jpg", "missing"),
        ("empty.jpg", "empty file"),
        ("page.jpg", "not a JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF or HEIC image"),
        ("folder.jpg", "a folder, not a file"),
    ]:
        with pytest.raises(UserError, match="data.on_bad_image=skip") as caught:
            read_file(tmp_path / name)
        assert f"{tmp_path / name} could not be read: {reason}." in str(caught.value)


def test_a_file_that_may_not_be_opened_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, flags: int) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UnreadableImage, match="no permission"):
        read_file(tmp_path / "picture.jpg")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(Image.new("L", (100, 100)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4_000)
    assert reason_for(tmp_path, data) == "too many pixels"


def test_limits_refuse_a_picture_by_its_header_and_name_the_option(tmp_path: Path) -> None:
    file = tmp_path / "picture"
    # Only the header is there: whoever began to decode would say `truncated`.
    file.write_bytes(encoded(Image.new("RGB", (101, 100)), "PNG")[:50])
    with pytest.raises(UnreadableImage, match="more pixels than data.max_image_pixels"):
        read_file(file, max_pixels=101 * 100 - 1)
    with pytest.raises(UnreadableImage, match="more bytes than data.max_image_bytes"):
        read_file(file, max_bytes=49)
    with pytest.raises(UnreadableImage, match="truncated"):
        read_file(file, max_bytes=50, max_pixels=101 * 100)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_of_too_many_pixels_is_read_smaller(tmp_path: Path, pixels: np.ndarray, mode: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    whole = Image.fromarray(pixels).resize((370, 240)).convert(mode)
    data = encoded(whole, "JPEG", exif=exif)
    whole_pixels = read(tmp_path, data)
    for max_pixels, shape in [(370 * 240, (370, 240, 3)), (370 * 240 - 1, (185, 120, 3)), (30 * 47, (47, 30, 3))]:
        small = read_file(tmp_path / "picture", max_pixels=max_pixels)
        assert small.shape == shape
        expected = np.array(Image.fromarray(whole_pixels).resize(shape[1::-1], Image.Resampling.BOX)).astype(int)
        assert np.abs(small - expected).mean() < 3
    with pytest.raises(UnreadableImage, match="data.max_image_pixels"):
        read_file(tmp_path / "picture", max_pixels=30 * 47 - 1)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    for name in ("pipe.jpg", "zero.jpg"):
        with pytest.raises(UnreadableImage, match="not a regular file"):
            read_file(tmp_path / name)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.jpg"))
        with pytest.raises(UnreadableImage):
            read_file(tmp_path / "s.jpg")


def test_a_picture_without_pixels_is_refused(tmp_path: Path) -> None:
    header = bytearray(encoded(Image.new("RGB", (1, 1)), "BMP"))
    header[18:22] = bytes(4)
    assert reason_for(tmp_path, bytes(header))


def test_the_error_survives_the_way_from_another_process() -> None:
    error = UnreadableImage("a/b.jpg", "truncated")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.path, copy.reason, str(copy)) == ("a/b.jpg", "truncated", str(error))
