"""The learning rate of a recipe with stages, worked out by hand."""

from __future__ import annotations

import pytest

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.recipe import Recipe, assemble


def test_each_stage_s_schedule_ends_where_the_next_one_begins() -> None:
    words = [
        "train.num_epochs=9",
        "optim.lr=0.8",
        "optim.schedule={name: cosine, warmup_epochs: 0, final_factor: 0}",
        "train.stages=[{from_epoch: 2, lr: 0.4, schedule: {name: cosine, warmup_epochs: 0, final_factor: 0}},"
        " {from_epoch: 4, schedule: {name: constant, warmup_epochs: 1, warmup_factor: 0.5}}]",
    ]
    recipe = load(Recipe, None, [parse_override(word) for word in words]).config
    rate = assemble.learning_rate(recipe, steps_per_epoch=2)
    # Four steps are half a cosine wave: 1, 3/4, 1/4, 0.
    expected = [0.8, 0.6, 0.2, 0.0, 0.4, 0.3, 0.1, 0.0, 0.4, 0.6, *[0.8] * 8]
    assert [rate.at(step) for step in range(18)] == pytest.approx(expected)
