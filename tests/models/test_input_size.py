"""Sizes of images that a backbone does not take are refused before anything is read."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import timm
import torch

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.errors import UserError
from shelfmark.models.backbones.input_size import require_sizes
from shelfmark.recipe import Recipe, assemble

SIZES = range(96, 196, 4)


def refused(backbone: torch.nn.Module, sides: Sequence[int]) -> list[int]:
    found = []
    for side in sides:
        try:
            require_sizes(backbone, "net", {"data.input_size_px": [side]})
        except UserError:
            found.append(side)
    return found


@pytest.mark.parametrize(
    "options",
    [
        {"img_size": 112, "patch_size": 14, "dynamic_img_size": True},
        {"img_size": 112, "patch_size": 16},
        {"img_size": 128, "patch_size": 32, "dynamic_img_size": True, "dynamic_img_pad": True},
    ],
)
def test_what_timm_refuses_in_the_forward_pass_is_refused_beforehand(options: dict[str, object]) -> None:
    backbone = timm.create_model("vit_tiny_patch16_224", depth=1, embed_dim=12, num_heads=1, num_classes=0, **options)
    by_timm = []
    for side in SIZES:
        try:
            backbone(torch.zeros(1, 3, side, side))
        except AssertionError:
            by_timm.append(side)
    assert refused(backbone, SIZES) == by_timm
    assert bool(by_timm) == ("dynamic_img_pad" not in options)


def test_a_convolutional_network_takes_any_size() -> None:
    assert refused(timm.create_model("test_resnet", num_classes=0), SIZES) == []


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("data.input_size_px=100", r"data\.input_size_px: 100 px; model\.backbone=test_vit2 takes .* Give 96 there"),
        ("augment.sizes=[{from_epoch: 0, size_px: 90}]", r"augment\.sizes: 90 px"),
        ("predict.sizes_px=[64, 70]", r"predict\.sizes_px: 70 px"),
    ],
)
def test_the_option_is_named_with_the_nearest_size(option: str, told: str) -> None:
    texts = ["model.backbone=test_vit2", "data.input_size_px=64", option]
    recipe = load(Recipe, None, [parse_override(text) for text in texts]).config
    with pytest.raises(UserError, match=told):
        assemble.network(recipe, num_classes=2)
