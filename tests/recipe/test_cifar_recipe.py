"""The recipe of long-tailed CIFAR-100 is the literature's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.strings import Strings
from shelfmark.data.table import Table
from shelfmark.recipe import Recipe, assemble


@pytest.fixture
def recipe(checkout: Path) -> Recipe:
    return load(Recipe, checkout / "configs" / "longtail" / "cifar100_lt.yaml").config


# 10,847 images in batches of 128: 84 steps.
def test_the_rate_rises_for_five_epochs_and_falls_to_a_hundredth_twice(recipe: Recipe) -> None:
    rates = {0: 0.1 / 3, 2.5: 0.2 / 3, 5: 0.1, 159: 0.1, 160: 1e-3, 179: 1e-3, 180: 1e-5}
    rate = assemble.learning_rate(recipe, steps_per_epoch=84)
    assert {epoch: rate.at(round(84 * epoch)) for epoch in rates} == pytest.approx(rates, rel=1e-3)


def test_every_parameter_of_resnet_32_decays_under_sgd_with_nesterov_s_momentum(recipe: Recipe) -> None:
    network = assemble.network(recipe, num_classes=100)
    assert sum(parameter.numel() for parameter in network.parameters()) == 463_504 + 64 * 100 + 100
    optimizer = assemble.optimizer(recipe, network)
    assert isinstance(optimizer, torch.optim.SGD)
    for group in optimizer.param_groups:
        assert (group["weight_decay"], group["momentum"], group["nesterov"]) == (2e-4, 0.9, True)
    assert (recipe.train.batch_size, recipe.train.num_epochs) == (128, 200)


def test_training_images_are_windows_of_the_black_frame_that_seed_epoch_and_row_decide(
    checkout: Path, tmp_path: Path
) -> None:
    names = Strings.of([f"{row}.png" for row in range(8)])
    for name in names:
        Image.fromarray(np.full((32, 32, 3), 255, dtype=np.uint8)).save(tmp_path / name)
    table = Table(names, np.arange(8) % 2, names, num_classes=2, root=tmp_path, sha256="")
    small = ["train.batch_size=4", "data.num_workers=0", "data.mean=[0, 0, 0]", "data.std=[1, 1, 1]", "augment.flip=0"]

    def images(epoch: int, *more: str) -> torch.Tensor:
        """Of an epoch, by row."""
        file = checkout / "configs" / "longtail" / "cifar100_lt.yaml"
        recipe = load(Recipe, file, [parse_override(text) for text in [*small, *more]]).config
        batches = list(assemble.train_loader(recipe, table, torch.device("cpu")).epoch(epoch))
        rows = torch.cat([batch.rows for batch in batches])
        return torch.cat([batch.images for batch in batches])[rows.argsort()]

    first = images(0)
    assert first.shape == (8, 3, 32, 32)
    # White, but for at most four black rows and as many columns at an edge.
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert bool((first.sum(dim=(1, 2, 3)) >= 3 * 28 * 28).all())
    assert bool((first[:, :, 4:28, 4:28] == 1).all())
    assert torch.equal(images(0, "train.batch_size=2"), first)
    assert not torch.equal(images(1), first)
    assert not torch.equal(images(0, "seed=1"), first)
    assert set(images(0, "augment.crop_padding_px=0").unique().tolist()) == {1.0}


@pytest.mark.parametrize("line", [0, 1, 2])
def test_the_methods_of_the_header_are_options_that_exist(checkout: Path, line: int) -> None:
    file = checkout / "configs" / "longtail" / "cifar100_lt.yaml"
    header = [text.strip("# ") for text in file.read_text().splitlines() if text.startswith("#")]
    methods = " ".join(header[next(i for i, text in enumerate(header) if text.startswith("Methods:")) :])
    options = ["losses='[{name: balanced_softmax}]'"]
    options += ["losses='[{name: ldam, class_weights: effective_number, class_weights_from_epoch: 160}]'"]
    options += ["augment.mixup=1.0"]
    assert options[line] in methods
    overrides = [options[line].replace("'", "")]
    if "ldam" in overrides[0]:
        assert "model.classifier.type=cosine" in methods
        overrides.append("model.classifier.type=cosine")
    load(Recipe, file, [parse_override(text) for text in overrides])
