"""Version 2 of the training pipeline, with version 1 as its slow twin: the same draws, and the same pixels."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from from_options import build_order, train_transform
from PIL import Image
from torchvision.transforms import v2

from shelfmark.core.contracts import Batch
from shelfmark.core.errors import UserError
from shelfmark.core.seeding import seeded
from shelfmark.data import jpeg
from shelfmark.data.colour import jittered
from shelfmark.data.crop_first import CropFirst
from shelfmark.data.dataset import ImageDataset
from shelfmark.data.finish import Draws, Finish
from shelfmark.data.images import decode_rgb, picture_of
from shelfmark.data.loader import TrainLoader
from shelfmark.data.options import AugmentOptions, DataOptions
from shelfmark.data.samplers import Draw
from shelfmark.data.sources import FileSource
from shelfmark.data.uploads import one_ahead, ready_batches

JITTER = {"color_jitter": (0.4, 0.4, 0.4, 0.1), "color_jitter_probability": 0.7}
EVERYTHING = {**JITTER, "randaugment": {"num_ops": 2}, "erasing": 0.5}
# The result is in 0..1, less the mean, by the standard deviation.
ONE_LEVEL = 1 / 255 / min(DataOptions().input_settings.std) + 1e-5


def photograph(number: int, height: int = 90, width: int = 120) -> np.ndarray:
    noise = np.random.default_rng(number).integers(0, 256, (height // 6, width // 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def encoded(pixels: np.ndarray, kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def crop_first(size: int, color_jitter_on: str = "workers", **augment: Any) -> CropFirst:
    return CropFirst(size, AugmentOptions(**augment), DataOptions(pipeline=2, color_jitter_on=color_jitter_on))


@pytest.mark.parametrize(
    "augment",
    [
        {},
        EVERYTHING,
        {"resize_px": [100], "erasing": 1.0},
        {"resize_px": [70, 80]},
        {"crop_padding_px": 5, "flip": 1.0},
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_picture_decoded_at_full_size_gives_the_very_input_of_version_1(augment: dict[str, Any], kind: str) -> None:
    old, new = train_transform(64, **augment), crop_first(64, **augment)
    for seed in range(12):
        data = encoded(photograph(seed), kind)
        assert torch.equal(new(picture_of(data, "a"), seed), old(decode_rgb(data, "a"), seed))


def test_large_crops_are_decoded_small_and_small_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    decode = jpeg.decode
    monkeypatch.setattr(jpeg, "decode", lambda data, shrink, *rows: asked.append(shrink) or decode(data, shrink, *rows))
    data = encoded(photograph(0, 480, 480))
    for scale, size, shrink in ((1.0, 60, 8), (1.0, 61, 4), (0.25, 60, 4), (0.25, 121, 1)):
        crop_first(size, crop_scale=(scale, scale), crop_ratio=(1, 1))(picture_of(data, "a"), 0)
        assert asked.pop() == shrink, (scale, size)
    crop_first(60, crop_padding_px=4)(picture_of(data, "a"), 0)
    crop_first(60, resize_px=[120])(picture_of(data, "a"), 0)
    assert asked == [8, 4]


def test_a_batch_finished_at_once_is_the_same_to_the_last_bit() -> None:
    old, new = train_transform(32, erasing=0.6), crop_first(32, erasing=0.6)
    pictures = [photograph(seed, 50, 60) for seed in range(16)]
    begun = [new.begun(picture_of(encoded(one), "a"), seed) for seed, one in enumerate(pictures)]
    assert all(pixels.dtype == torch.uint8 for pixels, _ in begun)
    draws = [drawn for _, drawn in begun if drawn is not None]
    images = Finish(DataOptions())(torch.stack([pixels for pixels, _ in begun]), torch.stack(draws))
    for seed, one in enumerate(pictures):
        assert torch.equal(images[seed], old(decode_rgb(encoded(one), "a"), seed))


def test_every_value_of_a_pixel_is_normalised_as_by_version_1() -> None:
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16)
    by_old = train_transform(16, crop_scale=(1, 1), crop_ratio=(1, 1), flip=0)(values[0].permute(1, 2, 0).numpy(), 0)
    assert torch.equal(Finish(DataOptions())(values, None)[1], by_old)


def test_nothing_is_sent_along_that_nobody_drew() -> None:
    picture = picture_of(encoded(photograph(0)), "a")
    assert crop_first(32, **JITTER).begun(picture, 0)[1] is None
    assert crop_first(32, "device").begun(picture, 0)[1] is None
    assert crop_first(32, "device", **JITTER).begun(picture, 0)[1] is not None


def test_jitter_on_the_device_differs_from_the_workers_by_a_level_a_change_at_most() -> None:
    augment = {**JITTER, "erasing": 0.5}
    old, new = train_transform(32, **augment), crop_first(32, "device", **augment)
    begun = [new.begun(picture_of(encoded(photograph(seed, 50, 60)), "a"), seed) for seed in range(24)]
    pixels, draws = (torch.stack(list(column)) for column in zip(*begun))
    together = new.finish(pixels, draws)
    changed = 0
    for seed in range(24):
        data = encoded(photograph(seed, 50, 60))
        expected = old(decode_rgb(data, "a"), seed)
        # Four changes, and each may be off by one: a later one may carry that on.
        assert float((together[seed] - expected).abs().max()) <= 4 * ONE_LEVEL
        assert float((together[seed] - expected).abs().mean()) <= 0.05 * ONE_LEVEL
        assert torch.equal(new(picture_of(data, "a"), seed), together[seed])
        changed += not torch.equal(Finish(DataOptions())(pixels[seed][None], None)[0], together[seed])
    assert 12 <= changed <= 24


@pytest.mark.parametrize("strengths", [(0.8, 0, 0, 0), (0, 0.8, 0, 0), (0, 0, 0.8, 0), (0, 0, 0, 0.5)])
def test_each_change_of_colour_is_that_of_torchvision(strengths: tuple[float, ...]) -> None:
    jitter = v2.ColorJitter(*strengths)
    # Every grey, the full colours, and noise.
    corners = torch.cartesian_prod(*[torch.tensor([0, 1, 128, 255])] * 3).T.reshape(3, 8, 8)
    greys = torch.arange(64).expand(3, 64).reshape(3, 8, 8) * 4
    noise = torch.randint(0, 256, (3, 8, 8), generator=torch.Generator().manual_seed(0))
    pixels = torch.cat([corners, greys, noise], 1).to(torch.uint8)
    for seed in range(20):
        with seeded(seed):
            params = jitter.make_params([pixels])
        row = Draws().with_jitter(params).row()[None]
        ours = jittered(pixels[None], row[:, :4].long(), row[:, 4:8])[0]
        assert int((ours.int() - jitter.transform(pixels, params).int()).abs().max()) <= 1


FILES, LABELS = 10, np.arange(10) % 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(FILES):
        (tmp_path / f"{number}.jpg").write_bytes(encoded(photograph(number, 40, 50)))
    return tmp_path


def loader(folder: Path, transform: Any, num_workers: int = 0, **options: Any) -> TrainLoader:
    source = FileSource([f"{number}.jpg" for number in range(FILES)], folder)
    dataset = ImageDataset(source, LABELS, transform, seed=3, on_bad_image="skip", replace_bad=True, finishes=False)
    return TrainLoader(dataset, build_order("instance", LABELS, 2, 5, seed=3), num_workers, **options)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_batches_are_those_of_version_1_also_where_a_picture_is_replaced(folder: Path, num_workers: int) -> None:
    data = (folder / "4.jpg").read_bytes()
    # Damage in the first rows, which every crop is below.
    (folder / "4.jpg").write_bytes(data[: data.index(b"\xff\xda") + 20] + b"\xff\xd9")
    new = loader(folder, crop_first(32, erasing=0.5), num_workers, finish=Finish(DataOptions()))
    old = loader(folder, train_transform(32, erasing=0.5))
    for one, other in zip(new.epoch(1), old.epoch(1), strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.rows, other.rows)
        assert one.bad == other.bad
        assert one.draws is None


def test_stored_views_are_those_of_version_1_and_a_picture_is_decoded_twice_at_most(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    decode = jpeg.decode
    source = FileSource([f"{number}.jpg" for number in range(FILES)], folder)
    options: dict[str, Any] = {"seed": 3, "epochs": (0, 1, 2)}
    expected = ImageDataset(source, LABELS, train_transform(32, erasing=0.5), **options)[Draw(7)].image
    monkeypatch.setattr(jpeg, "decode", lambda data, shrink, *rows: asked.append(shrink) or decode(data, shrink, *rows))
    views = ImageDataset(source, LABELS, crop_first(32, erasing=0.5), **options)[Draw(7)].image
    assert views is not None
    assert expected is not None
    assert torch.equal(views, expected)
    assert asked in ([1], [1, 1])


def batch(number: int) -> Batch:
    return Batch(torch.full((1, 3, 2, 2), number, dtype=torch.uint8), torch.tensor([0]), torch.tensor([number]))


def test_a_batch_is_begun_before_the_one_before_it_is_handed_out() -> None:
    told: list[str] = []

    def given() -> Iterator[Batch]:
        yield from map(batch, range(3))
        told.append("error")
        raise UserError("a picture cannot be read")

    def begun(one: Batch) -> Batch:
        told.append(f"begun {int(one.rows[0])}")
        return one

    def train() -> None:
        for one in one_ahead(given(), begun, lambda one: one):
            told.append(f"trained {int(one.rows[0])}")

    with pytest.raises(UserError, match="cannot be read"):
        train()
    assert told == ["begun 0", "begun 1", "trained 0", "begun 2", "trained 1", "error", "trained 2"]
    assert len(list(one_ahead(map(batch, range(1)), begun, lambda one: one))) == 1
    assert not list(one_ahead(iter(()), begun, lambda one: one))


@pytest.mark.gpu
def test_a_gpu_is_given_the_images_of_the_cpu() -> None:
    draws = Draws(order=(3.0, 0.0, 2.0, 1.0), factors=(1.2, 0.8, 0.5, 0.1), rectangle=(2.0, 3.0, 5.0, 4.0)).row()
    pixels = [torch.from_numpy(photograph(number, 48, 48)).permute(2, 0, 1).contiguous() for number in range(6)]
    for drawn in (None, torch.stack([Draws(rectangle=(2.0, 3.0, 5.0, 4.0)).row(), Draws().row()])):
        batches = [
            Batch(torch.stack(pixels[at : at + 2]), torch.zeros(2).long(), torch.arange(2), draws=drawn).pin_memory()
            for at in (0, 2, 4)
        ]
        finish = Finish(DataOptions())
        expected = [one.images for one in ready_batches(iter(batches), finish, torch.device("cpu"))]
        for one, other in zip(ready_batches(iter(batches), finish, torch.device("cuda")), expected, strict=True):
            assert one.images.is_cuda
            assert torch.equal(one.images.cpu(), other)
    some = torch.stack(pixels[:2])
    rows = torch.stack([draws, Draws().row()])
    on_gpu = Finish(DataOptions())(some.cuda(), rows).cpu()
    assert float((on_gpu - Finish(DataOptions())(some, rows)).abs().max()) <= 4 * ONE_LEVEL
