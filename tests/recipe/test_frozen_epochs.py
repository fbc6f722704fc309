"""The epochs of a recipe that train on stored features, and what cannot go with them."""

from __future__ import annotations

import pytest

from shelfmark.config.errors import ConfigError
from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.recipe import Recipe
from shelfmark.recipe.frozen_epochs import cached_around, cached_epochs, frozen_epochs

CACHED = ["train.num_epochs=9", "train.cache_features.views=4"]


def recipe(*words: str) -> Recipe:
    return load(Recipe, None, [parse_override(word) for word in words]).config


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["model.freeze=[backbone]"], [range(9)]),
        (["model.freeze=[backbone]", "train.stages=[{from_epoch: 6, freeze: []}]"], [range(6)]),
        # Classifier retraining (cRT): the head comes last.
        (["train.stages=[{from_epoch: 6, freeze: [backbone], classifier: restart}]"], [range(6, 9)]),
        # Two stages in a row keep the features; what a stage does not say is as in model.freeze.
        (["model.freeze=[backbone, embedding]", "train.stages=[{from_epoch: 2, freeze: [backbone]}]"], [range(9)]),
        (
            ["model.freeze=[backbone]", "train.stages=[{from_epoch: 2, freeze: []}, {from_epoch: 5}]"],
            [range(2), range(5, 9)],
        ),
        (
            [
                "model.freeze=[backbone]",
                "train.stages=[{from_epoch: 4, adapt_frozen_bn_statistics: true}, {from_epoch: 7}]",
            ],
            [range(4), range(7, 9)],
        ),
    ],
)
def test_features_are_stored_for_the_epochs_that_leave_the_backbone_as_it_is(
    words: list[str], expected: list[range]
) -> None:
    with_cache = recipe(*CACHED, *words)
    assert cached_epochs(with_cache) == expected
    assert [cached_around(with_cache, epoch) is not None for epoch in range(9)] == [
        any(epoch in epochs for epochs in expected) for epoch in range(9)
    ]
    without = recipe("train.num_epochs=9", *words)
    assert (frozen_epochs(without), cached_epochs(without)) == (expected, [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no stage freezes the whole backbone"),
        (["model.freeze=[backbone.layer1]"], "no stage freezes the whole backbone"),
        (
            ["train.stages=[{from_epoch: 2, freeze: [backbone], adapt_frozen_bn_statistics: true}]"],
            "no stage freezes the whole backbone and its statistics",
        ),
        (["model.freeze=[backbone]", "augment.mixup=0.2"], "augment: mixup and cutmix mix images"),
        (
            ["train.stages=[{from_epoch: 2, freeze: [backbone], cutmix: 1}]"],
            "train.stages.0: mixup and cutmix mix images",
        ),
        (
            ["model.freeze=[backbone]", "augment.sizes=[{from_epoch: 0, size_px: 96}, {from_epoch: 3, size_px: 128}]"],
            "augment.sizes changes the size in epoch 3",
        ),
    ],
)
def test_what_stored_features_cannot_serve_is_refused_by_the_recipe(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(*CACHED, *words)


def test_a_later_stage_may_mix_images_and_change_the_size() -> None:
    accepted = recipe(
        *CACHED,
        "model.freeze=[backbone]",
        "augment.sizes=[{from_epoch: 6, size_px: 128}]",
        "train.stages=[{from_epoch: 6, freeze: [], mixup: 0.2}]",
    )
    assert cached_around(accepted, 5) == range(6)
    assert cached_around(accepted, 6) is None
