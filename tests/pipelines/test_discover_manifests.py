"""Which options shape a stage of discovery, so that another value of theirs makes it anew."""

from __future__ import annotations

from typing import Any

from shelfmark.config.load import load, parse_override
from shelfmark.pipelines.discover.files import Stage
from shelfmark.pipelines.discover.manifests import shaping_options
from shelfmark.recipe import Recipe


def shaped_by(stage: Stage, *words: str) -> dict[str, Any]:
    return shaping_options(load(Recipe, None, [parse_override(word) for word in words]).config.model_dump(), stage)


def test_a_target_shapes_the_selection_only_where_something_is_calibrated_for_it() -> None:
    target, join = "discovery.selection.target_precision=0.3", "discovery.selection.join_precision=0.5"
    assert shaped_by("selection", target) != shaped_by("selection")
    assert shaped_by("selection", join) != shaped_by("selection")
    fixed = ("discovery.selection.density_threshold=0.8", "discovery.selection.join_known=false")
    assert shaped_by("selection", target, join, *fixed) == shaped_by("selection", *fixed)
    assert shaped_by("selection", *fixed) != shaped_by("selection", fixed[0])


def test_what_only_speeds_or_logs_shapes_nothing() -> None:
    assert shaped_by("train", "data.num_workers=3", "train.log_every_steps=7") == shaped_by("train")
    assert shaped_by("train", "train.num_epochs=3") != shaped_by("train")
