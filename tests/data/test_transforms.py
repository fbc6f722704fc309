"""Training and evaluation transforms: geometry, colours, and what the randomness depends on."""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from from_options import eval_transform, train_transform, view_transform
from torch import Tensor
from torch.nn import functional

from shelfmark.core.errors import UserError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
WHOLE = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0)}
HEAVY = {"color_jitter": (0.4, 0.4, 0.4, 0.1), "randaugment": {"num_ops": 2}, "erasing": 0.5}


def ramp(height: int, width: int) -> np.ndarray:
    """Red rises to the right, green downwards, blue is 60."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x / max(width - 1, 1), 255 * y / max(height - 1, 1)
    return np.stack([red, green, np.full_like(red, 60)], axis=-1).astype(np.uint8)


def resized(rgb: np.ndarray, height: int, width: int) -> Tensor:
    """In floating point: (3, height, width), 0..1."""
    pixels = torch.from_numpy(rgb).permute(2, 0, 1)[None].double()
    return functional.interpolate(pixels, (height, width), mode="bilinear", antialias=True)[0] / 255


def test_evaluation_resizes_the_shorter_side_and_cuts_out_the_centre() -> None:
    image = eval_transform(112, 0.875, **PLAIN)(ramp(300, 200), 0)
    assert image.shape == (3, 112, 112)
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    # 112 / 0.875 = 128; 300 x 200 becomes 192 x 128; the centre starts 40 from the top and 8 from the left.
    expected = resized(ramp(300, 200), 192, 128)[:, 40:152, 8:120]
    np.testing.assert_allclose(image, expected, atol=1.5 / 255)


def test_evaluation_truncates_the_size_that_it_resizes_to() -> None:
    # int(96 / 0.875) = int(109.7) = 109, so that the crop starts round(13 / 2) = 6 from the top.
    image = eval_transform(96, 0.875, **PLAIN)(ramp(109, 109), 0)
    np.testing.assert_allclose(image * 255, ramp(109, 109).transpose(2, 0, 1)[:, 6:102, 6:102], atol=1e-3)


def test_evaluation_of_the_whole_picture_leaves_a_fitting_one_as_it_is() -> None:
    image = eval_transform(40, 1.0, **PLAIN)(ramp(40, 40), 0)
    np.testing.assert_allclose(image * 255, ramp(40, 40).transpose(2, 0, 1), atol=1e-3)


def test_pixels_are_normalised_in_rgb_order() -> None:
    color = np.broadcast_to(np.array([255, 128, 0], dtype=np.uint8), (50, 50, 3)).copy()
    expected = (np.array([255, 128, 0]) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    for transform in (eval_transform(16), train_transform(16)):
        image = transform(color, 3)
        np.testing.assert_allclose(image, np.broadcast_to(expected[:, None, None], (3, 16, 16)), rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (2, 700), (17, 5)])
def test_pictures_of_any_shape_come_out_square(shape: tuple[int, int]) -> None:
    for transform in (eval_transform(24), train_transform(24), train_transform(24, **HEAVY)):
        image = transform(ramp(*shape), 1)
        assert image.shape == (3, 24, 24)
        assert bool(torch.isfinite(image).all())


def test_the_crop_of_the_whole_picture_is_a_resize() -> None:
    image = train_transform(30, **WHOLE, **PLAIN, flip=0.0)(ramp(90, 90), 0)
    np.testing.assert_allclose(image, resized(ramp(90, 90), 30, 30), atol=1.5 / 255)


def test_a_flip_mirrors_left_and_right() -> None:
    upright = train_transform(30, **WHOLE, **PLAIN, flip=0.0)(ramp(90, 90), 0)
    flipped = train_transform(30, **WHOLE, **PLAIN, flip=1.0)(ramp(90, 90), 0)
    assert torch.equal(flipped, upright.flip(-1))


def test_half_of_the_pictures_are_flipped() -> None:
    transform = train_transform(8, **WHOLE, **PLAIN, flip=0.5)
    flipped = sum(bool(image[0, 0, 0] > image[0, 0, -1]) for image in (transform(ramp(20, 20), s) for s in range(300)))
    assert 120 < flipped < 180


def test_crops_keep_to_the_scale_and_the_ratio() -> None:
    transform = train_transform(64, crop_scale=(0.2, 0.5), crop_ratio=(0.5, 2.0), flip=0.0, **PLAIN)
    for seed in range(40):
        image = transform(ramp(256, 256), seed)
        width = float(image[0, 0, -1] - image[0, 0, 0]) * 64 / 63
        height = float(image[1, -1, 0] - image[1, 0, 0]) * 64 / 63
        assert 0.2 * 0.9 < width * height < 0.5 * 1.1
        assert 0.5 * 0.9 < width / height < 2.0 * 1.1


def test_a_padded_crop_is_a_window_of_the_picture_in_a_black_frame() -> None:
    transform = train_transform(32, crop_padding_px=4, flip=0.0, **PLAIN)
    picture = np.random.default_rng(0).integers(1, 256, (32, 32, 3), dtype=np.uint8)
    framed = np.pad(picture, ((4, 4), (4, 4), (0, 0))).transpose(2, 0, 1)
    windows = {framed[:, top : top + 32, left : left + 32].tobytes() for top in range(9) for left in range(9)}
    assert len(windows) == 81
    images = ((transform(picture, seed) * 255).round().byte() for seed in range(1000))
    found = {image.numpy().tobytes() for image in images}
    # Each of 81 windows is missed by 1000 draws with a probability of 4e-6.
    assert found == windows


def test_the_frame_of_a_padded_crop_is_black_before_the_normalisation() -> None:
    transform = train_transform(8, crop_padding_px=8, flip=0.0)
    white = np.full((8, 8, 3), 255, dtype=np.uint8)
    black = (0 - np.array(IMAGENET_MEAN)) / IMAGENET_STD
    images = torch.stack([transform(white, seed) for seed in range(50)])
    lowest, highest = images.amin(dim=(0, 2, 3)), images.amax(dim=(0, 2, 3))
    np.testing.assert_allclose(lowest, black, rtol=1e-5)
    np.testing.assert_allclose(highest, (1 - np.array(IMAGENET_MEAN)) / IMAGENET_STD, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (90, 90), (40, 90), (17, 5), (1, 3000)])
def test_a_padded_crop_of_another_size_is_cut_from_the_picture_resized(shape: tuple[int, int]) -> None:
    image = train_transform(24, crop_padding_px=3, **HEAVY)(ramp(*shape), 1)
    assert image.shape == (3, 24, 24)
    tall = train_transform(30, crop_padding_px=1, flip=0.0, **PLAIN)
    expected = np.pad(resized(ramp(90, 90), 30, 30), ((0, 0), (1, 1), (1, 1)))
    windows = [expected[:, top : top + 30, left : left + 30] for top in range(3) for left in range(3)]
    errors = [np.abs(window - tall(ramp(90, 90), 5).numpy()).max() for window in windows]
    assert min(errors) <= 1.5 / 255


def test_a_padded_crop_follows_from_the_seed_alone() -> None:
    transform = train_transform(24, crop_padding_px=4, **HEAVY)
    images = [transform(ramp(24, 24), seed) for seed in (5, 6, 5)]
    assert torch.equal(images[0], images[2])
    assert not torch.equal(images[0], images[1])
    assert torch.equal(pickle.loads(pickle.dumps(transform))(ramp(24, 24), 5), images[0])


def test_erasing_blanks_a_rectangle_after_the_normalisation() -> None:
    options = {**WHOLE, "flip": 0.0}
    whole = train_transform(32, **options)(ramp(64, 64), 5)
    erased = train_transform(32, **options, erasing=1.0)(ramp(64, 64), 5)
    changed = (whole != erased).any(dim=0)
    assert 0.01 * 32 * 32 < int(changed.sum()) < 0.4 * 32 * 32
    assert bool((erased[:, changed] == 0).all())


JITTER, RANDAUGMENT = {"color_jitter": (0.4, 0.0, 0.0, 0.0)}, {"randaugment": {"num_ops": 2}}


@pytest.mark.parametrize("option", [JITTER, RANDAUGMENT, {"erasing": 1.0}])
def test_each_option_changes_the_picture(option: dict[str, Any]) -> None:
    plain, changed = train_transform(24), train_transform(24, **option)
    assert any(not torch.equal(plain(ramp(60, 60), seed), changed(ramp(60, 60), seed)) for seed in range(5))


def test_the_seed_alone_decides_and_no_global_generator_is_touched() -> None:
    transform = train_transform(24, **HEAVY)
    torch.manual_seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    first = transform(ramp(60, 50), 2**62 + 7)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert random.getstate() == before[2]
    torch.manual_seed(2)
    assert torch.equal(transform(ramp(60, 50), 2**62 + 7), first)
    assert not torch.equal(transform(ramp(60, 50), 2**62 + 8), first)


def test_the_global_generator_is_put_back_when_a_picture_fails() -> None:
    state = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        train_transform(24)(np.zeros((0, 5, 3), dtype=np.uint8), 1)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_transform_can_be_sent_to_another_process() -> None:
    for transform in (eval_transform(24), train_transform(24, **HEAVY)):
        copy = pickle.loads(pickle.dumps(transform))
        assert torch.equal(copy(ramp(60, 50), 9), transform(ramp(60, 50), 9))


# A user's saved pipeline


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Saves the steps that it is given, named as in albumentations, with their options."""
    monkeypatch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    def save(*steps: tuple[str, dict[str, Any]], kind: str = "json") -> Path:
        path = tmp_path / f"pipeline.{kind}"
        pipeline = albumentations.Compose([getattr(albumentations, name)(**options) for name, options in steps])
        albumentations.save(pipeline, path, data_format=kind)
        return path

    return save


CROP = ("RandomResizedCrop", {"size": (24, 24)})
FLIPS = (("HorizontalFlip", {"p": 0.5}), ("VerticalFlip", {"p": 0.5}))


@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_a_saved_pipeline_takes_the_place_of_our_augmentation(saved: Callable[..., Path], kind: str) -> None:
    transform = train_transform(20, albumentations=saved(("VerticalFlip", {"p": 1.0}), kind=kind), **PLAIN)
    image = transform(ramp(20, 20), 0)
    np.testing.assert_allclose(image * 255, ramp(20, 20)[::-1].transpose(2, 0, 1), atol=1e-3)


def test_a_saved_pipeline_depends_on_the_seed_alone(saved: Callable[..., Path]) -> None:
    transform = train_transform(24, albumentations=saved(CROP, *FLIPS, ("GaussNoise", {"p": 1.0})), erasing=0.5)
    images = [transform(ramp(60, 60), seed) for seed in (5, 6, 5)]
    assert torch.equal(images[0], images[2])
    assert not torch.equal(images[0], images[1])
    copy = pickle.loads(pickle.dumps(transform))
    assert torch.equal(copy(ramp(60, 60), 5), images[0])


def test_the_steps_of_a_saved_pipeline_are_drawn_independently(saved: Callable[..., Path]) -> None:
    transform = train_transform(20, albumentations=saved(*FLIPS), **PLAIN)
    corners = [transform(ramp(20, 20), seed)[:2, 0, 0].round().int().tolist() for seed in range(200)]
    for corner in ([0, 0], [0, 1], [1, 0], [1, 1]):
        assert 25 < corners.count(corner) < 75


def test_the_result_of_a_saved_pipeline_is_resized_and_normalised_here(saved: Callable[..., Path]) -> None:
    image = train_transform(24, albumentations=saved(("NoOp", {})))(np.full((50, 70, 3), 255, dtype=np.uint8), 0)
    expected = (1 - np.array(IMAGENET_MEAN)) / IMAGENET_STD
    np.testing.assert_allclose(image, np.broadcast_to(expected[:, None, None], (3, 24, 24)), rtol=1e-5)


@pytest.mark.parametrize("last", [(), (("ToTensorV2", {}),)])
def test_a_saved_pipeline_that_normalises_is_taken_at_its_word(saved: Callable[..., Path], last: tuple) -> None:
    halves = ("Normalize", {"mean": (0.5,) * 3, "std": (0.5,) * 3})
    image = train_transform(20, albumentations=saved(halves, *last))(ramp(20, 20), 0)
    assert image.dtype == torch.float32
    np.testing.assert_allclose(image, ramp(20, 20).transpose(2, 0, 1) / 127.5 - 1, atol=1e-5)


def test_a_saved_pipeline_that_fails_on_a_picture_names_its_file(saved: Callable[..., Path]) -> None:
    transform = train_transform(24, albumentations=saved(("RandomCrop", {"height": 90, "width": 90})))
    with pytest.raises(UserError, match=r"pipeline.json failed on a 60x60x3 image"):
        transform(ramp(60, 60), 0)


def test_a_file_that_is_no_pipeline_is_refused_with_the_way_to_write_one(tmp_path: Path) -> None:
    for name, text, said in [
        ("a.json", "[1]", r"albumentations.save\(pipeline, FILE\)"),
        ("b.yaml", "x: [", r"albumentations.save\(pipeline, FILE\)"),
        ("c.txt", "", "must end in .json, .yaml or .yml"),
    ]:
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=said):
            train_transform(24, albumentations=tmp_path / name)
    with pytest.raises(UserError, match=r"d.json does not exist"):
        train_transform(24, albumentations=tmp_path / "d.json")


def test_without_the_albumentations_package_the_error_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(UserError, match=r"pip install 'albumentations>=1.4.21,<3'"):
        train_transform(24, albumentations=tmp_path / "pipeline.json")


# views


def test_one_view_is_the_picture_of_the_evaluation() -> None:
    picture = ramp(90, 70)
    views = view_transform(32, "centre", 0.8)(picture, 0)
    assert torch.equal(views, eval_transform(32, 0.8)(picture, 0)[None])


def test_five_crops_are_the_corners_and_the_centre_and_ten_their_mirror_images_too() -> None:
    # 40 / 0.8 = 50: the picture of 50 x 60 stays as it is.
    rgb = ramp(50, 60)
    pixels = torch.from_numpy(rgb).permute(2, 0, 1) / 255
    five = view_transform(40, "five_crop", 0.8, **PLAIN)(rgb, 0)
    corners = [(0, 0), (0, 20), (10, 0), (10, 20), (5, 10)]
    expected = torch.stack([pixels[:, top : top + 40, left : left + 40] for top, left in corners])
    torch.testing.assert_close(five, expected, atol=1e-6, rtol=0)
    ten = view_transform(40, "ten_crop", 0.8, **PLAIN)(rgb, 0)
    assert torch.equal(ten, torch.cat([five, five.flip(-1)]))
    flipped = view_transform(40, "flip", 0.8, **PLAIN)(rgb, 0)
    assert torch.equal(flipped, torch.stack([five[4], five[4].flip(-1)]))


def test_unknown_views_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match="predict.views='ten_crops' .* Did you mean 'ten_crop'"):
        view_transform(32, "ten_crops")
