"""Pictures with colour profiles, against the formulas of the colour spaces; and all that must stay as it is."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from colour_profiles import (
    ADOBE_RGB,
    DISPLAY_P3,
    cmyk_profile,
    grey_profile,
    rgb_profile,
    srgb_of_lab,
    srgb_of_rgb,
    srgb_of_xyz,
)
from PIL import Image, ImageCms

from shelfmark.data import colour_profiles, loader, told_notices
from shelfmark.data.boxes import Crop
from shelfmark.data.colour_profiles import MAX_PROFILE_BYTES
from shelfmark.data.dataset import ImageDataset
from shelfmark.data.images import Picture, Window, decode_crop, decode_rgb, picture_of, pixels_of
from shelfmark.data.loader import eval_batches
from shelfmark.data.notices import Notices
from shelfmark.data.samplers import Draw
from shelfmark.data.sources import GivenSource
from shelfmark.data.told_notices import tell_notices
from shelfmark.data.transforms import eval_transform
from shelfmark.export import predict
from shelfmark.export.model_facts import input_facts
from shelfmark.recipe import Recipe
from shelfmark.recipe.forward import forward_options
from shelfmark.serving.preparations import EXPORTED, TRAINED, Preparation

P3, GREY = rgb_profile(DISPLAY_P3, 2.2), grey_profile(1.8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RGB = np.stack(np.meshgrid(*[np.arange(10, 256, 30)] * 3), axis=-1).reshape(27, 27, 3).astype(np.uint8)
SMOOTH = (np.mgrid[0:120, 0:160].sum(axis=0)[..., None] * [0.9, 0.5, 0.2]).astype(np.uint8)


@pytest.fixture
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that begins."""
    notices = Notices()
    for module in (colour_profiles, loader, told_notices):
        monkeypatch.setattr(module, "NOTICES", notices)


def saved(picture: np.ndarray | Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(stream, form, **options)
    return stream.getvalue()


def applied(data: bytes) -> np.ndarray:
    """The pixels with the profile; an exported model's program has the same."""
    pixels = decode_rgb(data, "picture", profiles="apply")
    np.testing.assert_array_equal(predict.decoded(data, "picture", 10**8, "apply"), pixels)
    assert pixels.flags.writeable
    return pixels


def inks() -> np.ndarray:
    """Lab of all mixtures of four inks, whole or absent; black ink covers all."""
    lab = np.zeros((2, 2, 2, 2, 3))
    lab[0, :, :, 0] = [[[100, 0, 0], [85, -5, 70]], [[50, 60, 0], [50, 50, 35]]]
    lab[1, :, :, 0] = [[[60, -30, -30], [55, -40, 20]], [[35, 15, -35], [30, 0, 0]]]
    return lab


@pytest.mark.parametrize(("primaries", "gamma"), [(DISPLAY_P3, 2.2), (ADOBE_RGB, 2.19921875), (DISPLAY_P3, 1.0)])
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_colours_of_a_wide_gamut_are_those_of_the_formulas(primaries: np.ndarray, gamma: float, form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    data = saved(RGB, form, icc_profile=rgb_profile(primaries, gamma), **options)
    np.testing.assert_allclose(applied(data), srgb_of_rgb(RGB, primaries, gamma), atol=2)
    np.testing.assert_array_equal(decode_rgb(data, "picture"), RGB)
    assert np.abs(applied(data).astype(int) - RGB).max() > 20


def test_grey_with_a_profile_becomes_the_grey_that_it_means() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = np.repeat(srgb_of_xyz((grey[..., None] / 255) ** 1.8 * [0.9642, 1.0, 0.8249])[..., :1], 3, axis=-1)
    np.testing.assert_allclose(applied(saved(grey, "PNG", icc_profile=GREY)), expected, atol=2)
    deep = Image.fromarray(grey.astype(np.uint16) * 256 + 77)
    np.testing.assert_allclose(applied(saved(deep, "PNG", icc_profile=GREY)), expected, atol=2)


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_inks_have_the_colours_that_the_profile_measured(form: str) -> None:
    lab = inks()
    nodes = np.stack(np.meshgrid(*[[0, 255]] * 4, indexing="ij"), axis=-1).reshape(4, 4, 4).astype(np.uint8)
    picture = Image.fromarray(nodes.repeat(16, axis=0).repeat(16, axis=1), "CMYK")
    options = {"quality": 100, "subsampling": 0} if form == "JPEG" else {}
    data = saved(picture, form, icc_profile=cmyk_profile(lab), **options)
    found, expected = applied(data)[8::16, 8::16], srgb_of_lab(lab.reshape(4, 4, 3))
    np.testing.assert_allclose(found, expected, atol=4)
    plain = decode_rgb(data, "picture")[8::16, 8::16].astype(int)
    assert np.abs(plain - expected).max() > 60


def test_transparent_pixels_are_laid_over_white_after_the_colours_are_right() -> None:
    alpha = np.linspace(0, 255, 27 * 27).reshape(27, 27).astype(np.uint8)
    part, colours = alpha[..., None] / 255, srgb_of_rgb(RGB, DISPLAY_P3, 2.2)
    data = saved(np.dstack([RGB, alpha]), "PNG", icc_profile=P3)
    np.testing.assert_allclose(applied(data), colours * part + 255 * (1 - part), atol=3)
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "P")
    palette.putpalette([250, 0, 0, 0, 240, 0])
    expected = [[srgb_of_rgb(np.array([250, 0, 0]), DISPLAY_P3, 2.2), [255, 255, 255]]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for transparency in (1, b"\xff\0"):
            data = saved(palette, "PNG", icc_profile=P3, transparency=transparency)
            np.testing.assert_allclose(decode_rgb(data, "picture", profiles="apply"), expected, atol=2)
    applied(data)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF", "BMP"])
def test_a_picture_without_a_profile_or_with_one_of_srgb_keeps_its_very_pixels(form: str) -> None:
    for options in ({}, {"icc_profile": SRGB}):
        data = saved(SMOOTH, form, **options)
        np.testing.assert_array_equal(applied(data), decode_rgb(data, "picture"))


@pytest.mark.parametrize(
    ("profile", "word"),
    [
        (b"no profile at all" * 20, "damaged"),
        (P3[:200], "damaged"),
        (P3.replace(b"rTRC", b"xTRC"), "damaged"),
        (GREY, "other colours"),
        (P3 + bytes(MAX_PROFILE_BYTES), "more than"),
    ],
)
def test_a_profile_that_says_nothing_of_the_picture_is_told_once_by_a_name_and_ignored(
    profile: bytes, word: str, caplog: pytest.LogCaptureFixture, nothing_told: None
) -> None:
    form = "TIFF" if len(profile) > MAX_PROFILE_BYTES else "JPEG"
    data = saved(SMOOTH, form, icc_profile=profile)
    plain = decode_rgb(data, "shelf/7")
    assert not caplog.messages
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(7, 10):
            np.testing.assert_array_equal(decode_rgb(data, f"shelf/{number}", profiles="apply"), plain)
            tell_notices()
        np.testing.assert_array_equal(applied(data), plain)
        tell_notices()
    (told,) = caplog.messages
    assert told.startswith("warning: the colour profile of shelf/7 is ")
    assert word in told


def test_of_pictures_that_workers_read_the_first_with_a_damaged_profile_is_told_by_the_process_that_reads_on(
    caplog: pytest.LogCaptureFixture, nothing_told: None, capfd: pytest.CaptureFixture[str]
) -> None:
    sound, damaged = (saved(SMOOTH, "JPEG", icc_profile=profile) for profile in (P3, b"no profile at all" * 20))
    names = [f"p{row}" for row in range(8)]
    source = GivenSource(names, [sound, sound, sound, damaged, sound, damaged, sound, damaged])
    data = Recipe(data={"num_classes": 2}).data
    dataset = ImageDataset(source, None, eval_transform(64, data), seed=0, profiles="apply")
    for num_workers in (2, 2, 0):
        assert [row for batch in eval_batches(dataset, 1, num_workers) for row in batch.rows.tolist()] == list(range(8))
    (told,) = caplog.messages
    assert "colour profile of p3 is damaged" in told
    # A worker writes nothing itself.
    assert capfd.readouterr() == ("", "")


def test_a_turned_jpeg_and_a_box_of_it_have_the_colours_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(SMOOTH, "JPEG", quality=95, icc_profile=P3, exif=exif)
    whole = applied(data)
    assert whole.shape == (160, 120, 3)
    expected = srgb_of_rgb(decode_rgb(data, "picture"), DISPLAY_P3, 2.2)
    np.testing.assert_allclose(whole, expected, atol=2)
    # The same photograph is asked for in both ways: what is kept of one is not taken for the other.
    crop = Crop(10, 20, 30, 40)
    before = decode_crop(data, "picture", crop)
    np.testing.assert_array_equal(decode_crop(data, "picture", crop, profiles="apply"), whole[20:60, 10:40])
    np.testing.assert_array_equal(decode_crop(data, "picture", crop), before)


def test_windows_of_a_jpeg_are_of_the_whole_with_its_profile_and_without_one_are_read_smaller() -> None:
    window, least = Window(0, 0, 96, 96), (24, 24)
    data = saved(SMOOTH, "JPEG", quality=95, icc_profile=P3)
    picture = picture_of(data, "picture", profiles="apply")
    assert type(picture) is Picture
    np.testing.assert_array_equal(picture.window(window, least), applied(data)[:96, :96])
    for same in (saved(SMOOTH, "JPEG", icc_profile=SRGB), saved(SMOOTH, "JPEG")):
        small = picture_of(same, "picture", profiles="apply").window(window, least)
        assert small.shape == (24, 24, 3)
        np.testing.assert_array_equal(small, picture_of(same, "picture").window(window, least))


def test_an_opened_picture_of_a_program_has_its_profile_applied() -> None:
    data = saved(RGB, "PNG", icc_profile=P3)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(pixels_of(image, "picture", "apply"), applied(data))
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(pixels_of(image, "picture"), RGB)


def test_the_choice_is_of_the_recipe_and_goes_with_features_export_and_service() -> None:
    data = saved(SMOOTH, "JPEG", quality=95, icc_profile=P3)
    for choice, expected in (("ignore", decode_rgb(data, "picture")), ("apply", applied(data))):
        recipe = Recipe(data={"color_profiles": choice, "num_classes": 2})
        assert forward_options(recipe)["data.color_profiles"] == choice
        facts = input_facts(recipe.data)
        for decoder in (TRAINED, EXPORTED):
            np.testing.assert_array_equal(Preparation(decoder, facts).decoded(data), expected)
        source = GivenSource(["picture"], [data])
        dataset = ImageDataset(
            source, None, eval_transform(64, recipe.data), seed=0, profiles=recipe.data.color_profiles
        )
        np.testing.assert_array_equal(dataset[Draw(0, 0)].image, eval_transform(64, recipe.data)(expected, 0))
    # What was exported before there was a choice goes on as it did.
    older = {name: value for name, value in facts.items() if name != "color_profiles"}
    np.testing.assert_array_equal(Preparation(EXPORTED, older).decoded(data), decode_rgb(data, "picture"))
