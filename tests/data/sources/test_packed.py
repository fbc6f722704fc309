"""A packed copy: the pixels of smaller pictures, their boxes, and the same batches as files with the same bytes."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_pictures import drawn
from PIL import Image, ImageOps

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.errors import UserError
from shelfmark.core.string_places import StringPlaces
from shelfmark.core.strings import Strings
from shelfmark.data.images import read_rgb
from shelfmark.data.shrunk import shrunk_picture, shrunk_size
from shelfmark.data.sources import UnreadableImage
from shelfmark.data.sources.packed import PackedSource
from shelfmark.pipelines.shrink import shrink
from shelfmark.recipe import Recipe, assemble

SIZE_PX = 48
CPU = torch.device("cpu")


def jpeg(number: int, width: int = 96, height: int = 120, quality: int = 92, **options: Any) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(drawn(number, max(width, height))[:height, :width])
    image.save(stream, "JPEG", quality=quality, **options)
    return stream.getvalue()


def lying(number: int) -> bytes:
    """A JPEG that is stored on its side, and says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(number, 150, 96, exif=exif)


def recipe_of(root: Path, *options: str) -> Recipe:
    settings = (
        *(f"data.root={root / 'pictures'}", f"data.train_json={root / 'train.json'}", "data.num_workers=0"),
        *("data.input_size_px=24", "train.batch_size=8", "data.on_bad_image=skip", "data.max_bad_images=0.5"),
    )
    return load(Recipe, None, [parse_override(one) for one in (*settings, *options)]).config


def write(root: Path, records: list[dict[str, Any]]) -> None:
    document = {"annotations": records, "num_classes": 4}
    (root / "train.json").write_text(json.dumps(document))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen pictures of four classes, of several kinds, one of them damaged, and a copy of them in `packed`."""
    root = tmp_path_factory.mktemp("packed")
    (root / "pictures").mkdir()
    for number in range(16):
        data = jpeg(number)
        if number % 5 == 1:
            data = lying(number)
        elif number == 7:
            data = data[: len(data) // 2]
        elif number == 9:
            data = jpeg(number, 40, 44)
        (root / "pictures" / f"{number}.jpg").write_bytes(data)
    write(root, [{"fpath": f"{number}.jpg", "category_id": number % 4} for number in range(16)])
    shrink(recipe_of(root), SIZE_PX, 90, root / "packed")
    return root


def packed_source(root: Path, *options: str) -> PackedSource:
    recipe = recipe_of(root, f"data.source=packed:{root / 'packed'}", *options)
    source = assemble.image_source(recipe, assemble.read_table(recipe, "train"))
    assert isinstance(source, PackedSource)
    return source


# Pixels


@pytest.mark.parametrize("data", [jpeg(1), lying(2), jpeg(3, 800, 640)], ids=["upright", "lying", "large"])
def test_a_packed_picture_is_the_upright_original_resized_with_antialiasing(data: bytes) -> None:
    found = shrunk_picture(data, "a.jpg", SIZE_PX, 95, 10**8)
    original = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    stored = Image.open(io.BytesIO(found.data))
    assert found.full == original.size
    assert found.size == stored.size
    assert min(stored.size) == SIZE_PX
    assert abs(stored.width / stored.height - original.width / original.height) < 0.03
    # By a box filter, which is another antialiasing than Lanczos's; without any, the mean difference is above 12.
    expected = np.asarray(original.resize(stored.size, Image.Resampling.BOX), np.float32)
    assert np.abs(np.asarray(stored, np.float32) - expected).mean() < 6


def test_what_is_small_and_upright_keeps_its_bytes_and_what_lies_is_turned() -> None:
    small = jpeg(4, 40, 44)
    assert shrunk_picture(small, "a.jpg", SIZE_PX, 90, 10**8).data == small
    turned = shrunk_picture(lying(5), "a.jpg", 96, 90, 10**8)
    assert turned.size == turned.full == (96, 150)
    with Image.open(io.BytesIO(turned.data)) as image:
        assert image.getexif() == {}
        difference = np.asarray(image, np.float32) - np.rot90(drawn(5, 150)[:96], -1)
    assert np.abs(difference).mean() < 6


def test_an_original_of_low_quality_is_not_packed_finer_than_it_was() -> None:
    sizes = [len(shrunk_picture(jpeg(6, quality=one), "a", SIZE_PX, 90, 10**8).data) for one in (40, 75, 90, 98)]
    assert sizes[0] < sizes[1] < sizes[2]
    assert sizes[3] == pytest.approx(sizes[2], rel=0.1)


def test_the_shorter_side_of_the_smallest_box_keeps_the_size() -> None:
    assert shrunk_size((900, 1200), 300) == (300, 400)
    assert shrunk_size((200, 1200), 300) == (200, 1200)
    # A box of 600 px stands for half of the shrinking, one of 100 px for none.
    assert shrunk_size((900, 1200), 300, 600.0) == (450, 600)
    assert shrunk_size((900, 1200), 300, 100.0) == (900, 1200)
    assert shrunk_size((1000, 999), 320, 333.0) == (961, 960)


# The source


def test_every_record_has_the_pixels_of_its_stored_bytes_and_the_name_of_its_file(place: Path) -> None:
    source = pickle.loads(pickle.dumps(packed_source(place)))
    for row in range(16):
        path = place / "pictures" / f"{row}.jpg"
        assert source.name(row) == source.identity(row) == str(path)
        if row == 7:
            with pytest.raises(UnreadableImage, match="truncated"):
                source.read(row)
            continue
        stored = np.asarray(Image.open(io.BytesIO(source.read(row))))
        np.testing.assert_array_equal(read_rgb(source, row), stored)
        assert stored.shape == ((44, 40, 3) if row == 9 else (75, 48, 3) if row % 5 == 1 else (60, 48, 3))
    assert source.unread == {7: "truncated"}


@pytest.mark.parametrize("pipeline", [1, 2])
@pytest.mark.parametrize("sampling", ["instance", "pk"])
def test_batches_are_those_of_files_with_the_same_bytes_in_every_epoch_and_after_a_resume(
    place: Path, tmp_path: Path, pipeline: int, sampling: str
) -> None:
    source = packed_source(place)
    (tmp_path / "pictures").mkdir()
    for row in range(16):
        data = (place / "pictures" / "7.jpg").read_bytes() if row == 7 else source.read(row)
        (tmp_path / "pictures" / f"{row}.jpg").write_bytes(data)
    (tmp_path / "train.json").write_bytes((place / "train.json").read_bytes())
    options = (f"data.pipeline={pipeline}", f"sampling.type={sampling}", "sampling.images_per_class=2")
    loaders = []
    for recipe in (
        recipe_of(tmp_path, *options),
        recipe_of(place, *options, f"data.source=packed:{place / 'packed'}", "data.num_workers=1"),
    ):
        loaders.append(assemble.train_loader(recipe, assemble.read_table(recipe, "train"), CPU))
    for epoch, start in ((0, 0), (1, 1)):
        for one, other in zip(*(loader.epoch(epoch, start) for loader in loaders), strict=True):
            assert torch.equal(one.rows, other.rows)
            assert torch.equal(one.labels, other.labels)
            assert torch.equal(one.images, other.images)
            assert [bad.reason for bad in one.bad] == [bad.reason for bad in other.bad]


def test_two_words_for_a_picture_are_one_and_a_picture_that_is_not_there_is_named(place: Path, tmp_path: Path) -> None:
    names = ["./3.jpg", "x/../3.jpg", str(place / "pictures" / "3.jpg"), "3.jpg"]
    write(tmp_path, [{"fpath": name, "category_id": 0} for name in names])
    recipe = recipe_of(place, f"data.train_json={tmp_path / 'train.json'}", f"data.source=packed:{place / 'packed'}")
    source = assemble.image_source(recipe, assemble.read_table(recipe, "train"))
    assert len({source.read(row) for row in range(4)}) == 1
    write(tmp_path, [{"fpath": name, "category_id": 0} for name in ("3.jpg", "gone.jpg", "away.jpg")])
    with pytest.raises(UserError, match=r"lacks 2 of the 3 images, the first is gone.jpg\..*shelfmark shrink --config"):
        assemble.read_table(recipe, "train")


def test_a_block_that_was_changed_after_it_was_opened_is_unreadable_and_no_bus_error(
    place: Path, tmp_path: Path
) -> None:
    shrink(recipe_of(place), SIZE_PX, 90, tmp_path / "packed")
    recipe = recipe_of(place, f"data.source=packed:{tmp_path / 'packed'}")
    source = assemble.image_source(recipe, assemble.read_table(recipe, "train"))
    with open(tmp_path / "packed" / "block_00000.jpegs", "r+b") as stream:
        stream.truncate(100)
    with pytest.raises(UnreadableImage, match="the packed copy was changed or cut off while it was read"):
        source.read(3)


# Boxes


def test_a_box_is_cut_out_of_the_packed_picture_with_its_margin_rounded_outward(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    Image.fromarray(drawn(1, 240)[:200]).save(tmp_path / "pictures" / "a.png")
    boxes = [[11, 20, 100, 120], [140, 60, 100, 140], None, [200, 10, 100, 100]]
    records = [{"fpath": "a.png", "category_id": 0, **({"bbox": box} if box else {})} for box in boxes]
    write(tmp_path, records)
    # A side of 100 px, and a tenth of it on both sides, becomes 60 px: half the picture's size.
    shrink(recipe_of(tmp_path, "data.box_margin=0.1"), 60, 95, tmp_path / "packed")
    source = packed_source(tmp_path, "data.box_margin=0.1")
    assert source.copy.records["width"][0] == 120
    assert source.copy.records["height"][0] == 100
    assert len(source.copy) == 1
    # x from 1 to 121, y from 8 to 152, in the original.
    assert source.crop(0) == (0, 4, 61, 72, 0)
    # x from 130 to 250, y from 46 to 214: both end at the picture's edge.
    assert source.crop(1) == (65, 23, 55, 77, 0)
    assert source.crop(2) is None
    assert source.name(0).endswith("a.png#11,20,100,120")
    stored = np.asarray(Image.open(io.BytesIO(source.read(0))))
    np.testing.assert_array_equal(read_rgb(source, 0), stored[4:76, :61])
    np.testing.assert_array_equal(read_rgb(source, 2), stored)
    with pytest.raises(UnreadableImage, match="box outside of the picture"):
        read_rgb(source, 3)
    other = packed_source(tmp_path, "data.box_margin=0")
    assert other.crop(0) == (5, 10, 51, 60, 0)


# Places


def test_strings_are_found_also_where_their_hashes_are_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    known = [f"{one}/{'é' * (one % 3)}.jpg" for one in draw.permutation(3000).tolist()]
    wanted = [*draw.choice(known, 500).tolist(), "", "7", "no.jpg"]
    expected = [known.index(one) if one in known else -1 for one in wanted]
    for hashes in (Strings.hashes, lambda strings: np.diff(strings.offsets) % 5):
        monkeypatch.setattr(Strings, "hashes", hashes)
        assert StringPlaces(Strings.of(known)).of(Strings.of(wanted)).tolist() == expected
        places = StringPlaces(Strings.of(known))
        assert places.of(Strings.of(known[40:90])).tolist() == list(range(40, 90))
        assert places.of(Strings.of([*known[40:60], known[61], known[60]])).tolist() == [*range(40, 60), 61, 60]
        assert places.of(Strings.of([*known[-3:], "no"])).tolist() == [2997, 2998, 2999, -1]
    assert StringPlaces(Strings.of([])).of(Strings.of(["a"])).tolist() == [-1]
