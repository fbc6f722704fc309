"""A record with a box is that part of its picture, wherever its pixels are asked for."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data import images
from shelfmark.data.boxes import NOT_INSIDE
from shelfmark.data.cut_pictures import CutPictures
from shelfmark.data.dataset import ImageDataset
from shelfmark.data.image_scan import check_images
from shelfmark.data.images import Window, decode_rgb, open_picture, read_rgb
from shelfmark.data.options import DataOptions
from shelfmark.data.samplers import Draw
from shelfmark.data.sources import FileSource, UnreadableImage
from shelfmark.data.table import Table

WIDTH, HEIGHT = 40, 24
PIXELS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
BOXES = [[3, 2, 10, 6], [np.nan] * 4, [20, 10, 20, 14], [30, 4, 11.5, 2]]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """One picture, which lies on its side in its file and says so; the box of the last record ends outside of it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(PIXELS)).save(tmp_path / "lying.png", exif=exif)
    names = Strings.of(["lying.png"] * len(BOXES))
    boxes = np.array(BOXES, dtype=np.float32)
    return Table(names, np.arange(len(BOXES)), names, num_classes=4, root=tmp_path, sha256="", boxes=boxes)


def test_a_box_is_cut_out_of_the_upright_picture(table: Table) -> None:
    source = pickle.loads(pickle.dumps(FileSource.of(table)))
    np.testing.assert_array_equal(read_rgb(source, 0), PIXELS[2:8, 3:13])
    np.testing.assert_array_equal(read_rgb(source, 1), PIXELS)
    np.testing.assert_array_equal(read_rgb(source, 2), PIXELS[10:, 20:])
    assert len({source.identity(row) for row in range(len(source))}) == len(BOXES)
    assert source.name(0).endswith("lying.png#3,2,10,6")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_box_counts_in_pixels_of_the_picture_as_it_is_seen(tmp_path: Path, orientation: int, form: str) -> None:
    """The picture is dark but for a bright block where the box is, whichever way the file has stored it."""
    seen = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
    seen[8:16, 24:40] = 230
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = Image.fromarray(seen)
    if orientation > 1:
        stored = stored.transpose(Image.Transpose(back[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {"quality": 95} if form == "JPEG" else {}
    stored.save(tmp_path / "one", form, exif=exif, **options)
    source = FileSource(["one"], tmp_path, boxes=np.array([[24, 8, 16, 8]], np.float32))
    crop, picture = read_rgb(source, 0), open_picture(source, 0)
    assert (crop.shape, picture.height, picture.width) == ((8, 16, 3), 8, 16)
    for pixels in (crop, picture.window(Window(0, 0, 8, 16), (8, 16))):
        assert np.abs(pixels.astype(int) - 230).max() <= 4


def test_a_margin_is_cut_out_too(table: Table) -> None:
    np.testing.assert_array_equal(read_rgb(FileSource.of(table, box_margin=0.5), 0), PIXELS[0:11, 0:18])


def test_a_box_outside_of_its_picture_counts_as_unreadable(table: Table, tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match=r"lying.png#30,4,11.5,2 could not be read: box outside of the picture"):
        read_rgb(FileSource.of(table), 3)
    data = DataOptions(root=tmp_path, on_bad_image="error")
    with pytest.raises(UserError, match=rf"1 of 1 image could not be read.*{NOT_INSIDE}: 1"):
        check_images({"training": table}, data, tmp_path / "log")
    inside = table.take([0, 1, 2])
    check_images({"training": inside}, data, tmp_path / "log")


def test_the_boxes_of_a_photograph_are_cut_out_of_one_decoding(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    whole = images._decoded

    def counted(data: bytes, name: str, *how: object) -> tuple[np.ndarray, int]:
        decoded.append(name)
        return whole(data, name, *how)

    monkeypatch.setattr(images, "_decoded", counted)
    # No other test has left this picture decoded.
    monkeypatch.setattr(images._kept, "picture", None, raising=False)
    source = FileSource.of(table)
    first = read_rgb(source, 0)
    first[:] = 0
    for row in (2, 0, 2):
        assert read_rgb(source, row).any()
    assert len(decoded) == 1


def test_a_jpeg_that_is_too_large_is_cut_at_the_size_at_which_it_is_decoded(tmp_path: Path) -> None:
    gradient = np.zeros((64, 160, 3), np.uint8)
    gradient[:, 80:] = 255
    Image.fromarray(gradient).save(tmp_path / "large.jpg", quality=95)
    names = Strings.of(["large.jpg"])
    source = FileSource(names, tmp_path, boxes=np.array([[80, 0, 80, 64]], dtype=np.float32))
    pixels = read_rgb(source, 0, max_pixels=80 * 32)
    assert pixels.shape == (32, 40, 3)
    assert pixels.min() > 200


def test_training_sees_the_box(table: Table) -> None:
    def as_tensor(rgb: np.ndarray, seed: int):
        return np.ascontiguousarray(rgb)

    dataset = ImageDataset(FileSource.of(table), table.labels, as_tensor, seed=0)
    np.testing.assert_array_equal(dataset[Draw(0, 0)].image, PIXELS[2:8, 3:13])


def test_a_cut_picture_is_a_file_of_its_own(table: Table) -> None:
    cut = CutPictures(FileSource.of(table))
    np.testing.assert_array_equal(decode_rgb(cut.read(0), ""), PIXELS[2:8, 3:13])
    assert cut.crop(0) is None
    assert Image.open(io.BytesIO(cut.read(1))).size == (HEIGHT, WIDTH)
