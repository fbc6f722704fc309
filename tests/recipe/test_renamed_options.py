"""Options that had another name: the former name goes on to work, wherever options are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from shelfmark.config.errors import ConfigError
from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.config.renamed import RENAMED, present_options
from shelfmark.config.shape import Shape
from shelfmark.recipe import Recipe

STAGE = "train: {stages: [{from_epoch: 1, %s: true}]}\n"
FORMER = "sampling: {type: pk, visits: by_images}\noptim: {head_lr_factor: 5}\n" + STAGE % "update_batch_norm"
PRESENT = (
    "sampling: {type: pk, class_weighting: by_count}\noptim: {non_backbone_lr_factor: 5}\n"
    + STAGE % "adapt_frozen_bn_statistics"
)


def recipe(*overrides: str, file: Path | None = None) -> Recipe:
    return load(Recipe, file, [parse_override(text) for text in overrides]).config


def place(name: str) -> Shape | None:
    found: Shape | None = Shape.of(Recipe)
    for part in name.replace("*", "0").split("."):
        found = found and found.child(part)
    return found


def test_the_table_leads_from_no_option_to_an_option_and_its_values() -> None:
    for one in RENAMED:
        present = place(one.present)
        assert place(one.former) is None
        assert present is not None
        assert {*one.values.values()} <= {*present.choices}


def test_a_file_of_former_names_is_that_of_the_present_ones_and_each_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "former.yaml").write_text(FORMER)
    (tmp_path / "present.yaml").write_text(PRESENT)
    former = recipe(file=tmp_path / "former.yaml")
    told = capsys.readouterr()
    assert former == recipe(file=tmp_path / "present.yaml") == recipe(file=tmp_path / "former.yaml")
    assert (told.out, capsys.readouterr().err) == ("", "")
    lines = told.err.splitlines()
    assert lines[0].endswith(
        "former.yaml:1: sampling.visits is now sampling.class_weighting='by_count'; the former name still works."
    )
    assert [line.rpartition(" is now ")[2] for line in lines[1:]] == [
        "optim.non_backbone_lr_factor; the former name still works.",
        "train.stages.*.adapt_frozen_bn_statistics; the former name still works.",
    ]


@pytest.mark.parametrize(
    ("former", "present"),
    [
        ("optim.head_lr_factor=5", "optim.non_backbone_lr_factor=5"),
        ("optim={head_lr_factor: 5}", "optim={non_backbone_lr_factor: 5}"),
        ("sampling.visits=by_images", "sampling.class_weighting=by_count"),
        (
            "train.stages=[{from_epoch: 1, update_batch_norm: true}]",
            "train.stages=[{from_epoch: 1, adapt_frozen_bn_statistics: true}]",
        ),
    ],
)
def test_an_override_may_have_the_former_name(former: str, present: str) -> None:
    assert recipe(former) == recipe(present) != recipe()


def test_an_entry_of_a_list_may_have_the_former_name() -> None:
    stage = "train.stages=[{from_epoch: 1}]"
    [changed] = recipe(stage, "train.stages.0.update_batch_norm=true").train.stages
    assert changed.adapt_frozen_bn_statistics


def test_a_former_name_rules_over_the_present_one_of_a_base_and_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("optim: {non_backbone_lr_factor: 2}\n")
    (tmp_path / "mine.yaml").write_text("_base_: base.yaml\noptim: {head_lr_factor: 3}\n")
    assert recipe(file=tmp_path / "mine.yaml").optim.non_backbone_lr_factor == 3
    assert recipe("optim.head_lr_factor=4", file=tmp_path / "base.yaml").optim.non_backbone_lr_factor == 4


def test_both_names_at_once_are_an_error_that_shows_both_places(tmp_path: Path) -> None:
    (tmp_path / "both.yaml").write_text("optim:\n  head_lr_factor: 3\n  non_backbone_lr_factor: 3\n")
    with pytest.raises(ConfigError, match=r"yaml:2: optim\.head_lr_factor is the former name of .*yaml:3 sets too"):
        recipe(file=tmp_path / "both.yaml")
    with pytest.raises(ConfigError, match=r"visits=equal: .* which command line: .*class_weighting=uniform sets too"):
        recipe("sampling.class_weighting=uniform", "sampling.visits=equal")


def test_what_a_checkpoint_or_a_stage_says_of_its_options_gets_the_present_names() -> None:
    told = {"sampling": {"visits": "by_images", "power": 0.5}, "optim.head_lr_factor": 5, "seed": 1}
    assert present_options(told) == {
        "sampling": {"class_weighting": "by_count", "power": 0.5},
        "optim.non_backbone_lr_factor": 5,
        "seed": 1,
    }
