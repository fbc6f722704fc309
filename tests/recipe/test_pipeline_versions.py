"""data.pipeline: version 2 trains on what version 1 trains on, where nothing is decoded small; and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data.crop_first import CropFirst
from shelfmark.data.table import Table
from shelfmark.recipe import Recipe, assemble
from shelfmark.recipe.forward import forward_options
from shelfmark.runtime.run_report.seen_pictures import seen_pictures

CPU = torch.device("cpu")
SMALL = ["data.input_size_px=32", "data.num_workers=0", "train.batch_size=4", "augment.erasing=0.5"]
JITTER = "augment.color_jitter=[0.3,0.3,0.3,0.1]"


def recipe(*options: str) -> Recipe:
    return load(Recipe, None, [parse_override(one) for one in [*SMALL, *options]]).config


@pytest.fixture
def table(tmp_path: Path) -> Table:
    names = [f"{number}.jpg" for number in range(8)]
    for number, name in enumerate(names):
        noise = np.random.default_rng(number).integers(0, 256, (50, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / name)
    return Table(Strings.of(names), np.arange(8) % 2, Strings.of(names), 2, tmp_path, "")


@pytest.mark.parametrize("more", [[], ["augment.sizes=[{from_epoch: 1, size_px: 48}]", "augment.views=2", JITTER]])
def test_both_versions_train_on_the_same_images_where_nothing_is_decoded_small(table: Table, more: list[str]) -> None:
    first, second = (assemble.train_loader(recipe(f"data.pipeline={n}", *more), table, CPU) for n in (1, 2))
    for epoch in (0, 1):
        for one, other in zip(first.epoch(epoch), second.epoch(epoch), strict=True):
            assert one.images.dtype == torch.float32
            assert torch.equal(one.images, other.images)


def test_the_report_shows_what_version_2_trains_on(table: Table) -> None:
    shown = [seen_pictures(recipe(*options), table) for options in (["data.pipeline=1"], ["data.pipeline=2"])]
    np.testing.assert_array_equal(shown[0].pixels, shown[1].pixels)
    assert isinstance(assemble.sized_augmentation(recipe("data.pipeline=2")).at(0), CropFirst)


def test_old_recipes_keep_version_1_and_features_of_both_are_the_same() -> None:
    assert recipe().data.pipeline == 1
    options = ["data.pipeline=2", "data.color_jitter_on=device"]
    assert forward_options(recipe(*options)) == forward_options(recipe())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["data.pipeline=3"], "data.pipeline"),
        (["data.color_jitter_on=device"], "needs pixels of 8 bits on the device; set data.pipeline=2"),
        (
            ["data.pipeline=2", "data.color_jitter_on=device", "augment.randaugment.num_ops=2"],
            "would come after RandAugment",
        ),
        (
            ["data.pipeline=2", "data.color_jitter_on=device", "augment.albumentations=a.json"],
            "has no jitter to compute beside augment.albumentations",
        ),
    ],
)
def test_what_does_not_fit_is_refused(options: list[str], said: str) -> None:
    with pytest.raises(UserError) as refused:
        recipe(*options)
    assert said in str(refused.value)
