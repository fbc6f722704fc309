"""One row as an input: its augmentation, and what happens where its picture cannot be read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from from_options import train_transform
from PIL import Image
from torch import Tensor

from shelfmark.core.contracts import BadImage
from shelfmark.core.errors import UserError
from shelfmark.core.rng import derive_seed
from shelfmark.core.strings import Strings
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.dataset import ImageDataset
from shelfmark.data.samplers import Draw
from shelfmark.data.sources import FileSource, UnreadableImage
from shelfmark.data.substitutes import NUM_SUBSTITUTES
from shelfmark.data.table import Table

LABELS = [0, 0, 0, 1, 1, 2, -1]


def first_pixel_and_seed(rgb: np.ndarray, seed: int) -> Tensor:
    """A transform that shows what it was given: the picture's colour is its row."""
    return torch.tensor([float(rgb[0, 0, 0]), float(seed)], dtype=torch.float64)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Row r is a picture of colour r."""
    names = [f"{row}.png" for row in range(len(LABELS))]
    for row, name in enumerate(names):
        Image.new("RGB", (9, 9), (row, row, row)).save(tmp_path / name)
    return Table(Strings.of(names), np.array(LABELS), Strings.of(names), 3, tmp_path, "")


def dataset_of(table: Table, transform: Any, **options: Any) -> ImageDataset:
    return ImageDataset(FileSource(table.paths, table.root), table.labels, transform, **options)


def spoil(table: Table, *rows: int) -> None:
    for row in rows:
        table.path(row).write_bytes(b"spoilt")


NOT_AN_IMAGE = "not a JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF or HEIC image"


def test_a_sample_has_the_rows_picture_label_and_number(table: Table) -> None:
    dataset = dataset_of(table, first_pixel_and_seed, seed=7)
    assert len(dataset) == 7
    sample = dataset[Draw(4)]
    assert sample.image is not None
    assert (float(sample.image[0]), sample.label, sample.row, sample.bad) == (4, 1, 4, ())
    assert dataset[Draw(6)].label == -1


def test_the_augmentation_has_a_seed_for_each_run_epoch_row_and_repetition(table: Table) -> None:
    def seed_of(draw: Draw, seed: int = 7) -> float:
        image = dataset_of(table, first_pixel_and_seed, seed=seed)[draw].image
        assert image is not None
        return float(image[1])

    draws = [Draw(0, 0), Draw(0, 1), Draw(1, 0), Draw(0, 0, 1), Draw(0, 0, 2), Draw(0, 1, 1)]
    seeds = [seed_of(draw) for draw in draws] + [seed_of(Draw(0, 0), seed=8)]
    assert len(set(seeds)) == len(seeds)
    assert seed_of(Draw(2, 5)) == float(derive_seed(7, "augment", 5, 2))
    assert seed_of(Draw(2, 5, 3)) == float(derive_seed(7, "augment", 5, 2, 3))


def test_a_picture_drawn_twice_in_an_epoch_is_augmented_anew(table: Table) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(table.path(0))
    dataset = dataset_of(table, train_transform(16), seed=0)
    first, again, second = (dataset[draw].image for draw in (Draw(0, 3), Draw(0, 3), Draw(0, 3, 1)))
    assert first is not None
    assert again is not None
    assert second is not None
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_an_unreadable_picture_ends_the_run_unless_it_may_be_skipped(table: Table) -> None:
    spoil(table, 1)
    with pytest.raises(UnreadableImage, match=r"1.png could not be read: not a JPEG"):
        dataset_of(table, first_pixel_and_seed, seed=0)[Draw(1)]
    with pytest.raises(UserError, match=r"data.on_bad_image='ignore' is not one of: error, skip"):
        dataset_of(table, first_pixel_and_seed, seed=0, on_bad_image="ignore")


def test_in_evaluation_a_skipped_picture_is_reported_and_left_out(table: Table) -> None:
    spoil(table, 1)
    sample = dataset_of(table, first_pixel_and_seed, seed=0, on_bad_image="skip")[Draw(1)]
    assert sample.image is None
    assert sample.bad == (BadImage(1, str(table.path(1)), NOT_AN_IMAGE),)


def training(table: Table) -> ImageDataset:
    return dataset_of(table, first_pixel_and_seed, seed=0, on_bad_image="skip", replace_bad=True)


def test_in_training_another_picture_of_the_class_takes_the_place(table: Table) -> None:
    spoil(table, 1)
    places = [training(table)[Draw(1, epoch)] for epoch in range(20)]
    assert {sample.row for sample in places} == {0, 2}
    for sample in places:
        assert sample.image is not None
        assert float(sample.image[0]) == sample.row
        assert sample.label == 0
        assert sample.bad == (BadImage(1, str(table.path(1)), NOT_AN_IMAGE),)


def test_the_same_draw_is_always_given_the_same_substitute(table: Table) -> None:
    spoil(table, 1, 2)
    one, two = training(table)[Draw(1, 4, 1)], training(table)[Draw(1, 4, 1)]
    assert one.image is not None
    assert two.image is not None
    assert torch.equal(one.image, two.image)
    assert one._replace(image=None) == two._replace(image=None)


def test_a_class_without_a_readable_picture_is_stood_in_for_by_any_other(table: Table) -> None:
    spoil(table, 3, 4)
    samples = [training(table)[Draw(3, epoch)] for epoch in range(20)]
    assert {sample.row for sample in samples} <= {0, 1, 2, 5}
    for sample in samples:
        assert sample.label == LABELS[sample.row]
        assert sample.bad[:2] == tuple(BadImage(row, str(table.path(row)), NOT_AN_IMAGE) for row in (3, 4))


def test_where_no_picture_can_be_read_the_run_ends(table: Table) -> None:
    spoil(table, *range(6))
    with pytest.raises(UserError, match=rf"0.png could not be read .* nor could {NUM_SUBSTITUTES} other images"):
        training(table)[Draw(0)]


# The log of unreadable pictures


def bad(row: int, reason: str = "missing") -> BadImage:
    return BadImage(row, f"photos/{row}.jpg", reason)


def test_the_log_counts_each_picture_once_and_lists_them_in_a_file(tmp_path: Path) -> None:
    log = BadImageLog(tmp_path / "run" / "bad_images.csv", num_images=1000)
    log.add([])
    assert not log.file.exists()
    log.add([bad(30, "truncated"), bad(4)])
    log.add([bad(4), bad(5)])
    log.add([bad(30, "truncated")])
    assert len(log) == 3
    assert Counter(log.reasons.values()) == {"missing": 2, "truncated": 1}
    assert log.file.read_text() == (
        "row,path,reason\n4,photos/4.jpg,missing\n5,photos/5.jpg,missing\n30,photos/30.jpg,truncated\n"
    )


@pytest.mark.parametrize(
    ("num_images", "limit", "allowed"),
    [(196, 0.01, 10), (1000, 0.01, 10), (2000, 0.01, 20), (20, 0.8, 16), (30, 0.0, 10)],
)
def test_above_the_share_and_ten_images_the_run_ends_with_the_counts_and_the_file(
    tmp_path: Path, num_images: int, limit: float, allowed: int
) -> None:
    log = BadImageLog(tmp_path / "bad_images.csv", num_images, limit)
    for _ in range(2):
        log.add([bad(row) for row in range(allowed - 1)] + [bad(num_images - 2, "truncated")])
    with pytest.raises(UserError) as caught:
        log.add([bad(num_images - 1)])
    text = str(caught.value)
    assert f"{allowed + 1} of {num_images:,} images could not be read, more than {allowed}" in text
    assert f"missing: {allowed}, truncated: 1" in text
    assert "photos/1.jpg" in text
    assert str(tmp_path / "bad_images.csv") in text
    assert f"data.max_bad_images (now {limit:g})" in text
    assert len(log.file.read_text().splitlines()) == allowed + 2


def test_a_set_without_one_readable_image_ends_the_run_however_small_it_is(tmp_path: Path) -> None:
    log = BadImageLog(tmp_path / "bad_images.csv", num_images=3)
    log.add([bad(0), bad(1)])
    with pytest.raises(UserError, match="3 of 3 images could not be read"):
        log.add([bad(2)])


def test_the_log_survives_a_checkpoint_and_joins_those_of_other_processes(tmp_path: Path) -> None:
    log = BadImageLog(tmp_path / "bad_images.csv", num_images=1000)
    log.add([bad(1), bad(2)])
    torch.save(log.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed = BadImageLog(tmp_path / "resumed.csv", num_images=1000)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == log.state_dict()
    other = BadImageLog(tmp_path / "other.csv", num_images=1000)
    other.add([bad(2), bad(9, "truncated")])
    resumed.merge([log.state_dict(), other.state_dict()])
    assert Counter(resumed.reasons.values()) == {"missing": 2, "truncated": 1}
    assert len(resumed.file.read_text().splitlines()) == 4


def test_every_picture_met_is_in_the_file_by_the_end_of_an_epoch(tmp_path: Path) -> None:
    log = BadImageLog(tmp_path / "bad_images.csv", num_images=10**6)
    for row in range(150):
        log.add([bad(row)])
    log.merge([log.state_dict()])
    assert len(log.file.read_text().splitlines()) == 151
