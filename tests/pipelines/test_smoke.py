"""Every config runs small, from seeded weights, with the shop as data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shelfmark.cli import main
from shelfmark.config.load import load
from shelfmark.engine.checkpoint import load_checkpoint
from shelfmark.pipelines.limits import smoke_overrides
from shelfmark.recipe import Recipe

FOLDER = Path(__file__).parents[2] / "configs"
CONFIGS = sorted(
    path.relative_to(FOLDER).as_posix().removesuffix(".yaml")
    for path in FOLDER.rglob("*.yaml")
    if "base" not in path.stem
)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_runs_small(workplace: Path, name: str) -> None:
    assert main(["train", "--config", f"configs/{name}.yaml", "--smoke"]) == 0
    folder = workplace / "log" / f"{name.replace('/', '_')}_smoke"
    manifest = load_checkpoint(folder / "last").manifest
    assert (manifest["step"], manifest["epoch"]) == (8, 2)
    backbone = load(Recipe, workplace / "configs" / f"{name}.yaml").config.model.backbone
    assert manifest["config"]["model"]["backbone"] == backbone
    assert 0 <= json.loads((folder / "summary.json").read_text())["top1"] <= 1


def test_a_small_run_of_two_stages_has_the_losses_of_both(checkout: Path) -> None:
    file = checkout / "configs" / "longtail" / "mislas.yaml"
    small = load(Recipe, file, smoke_overrides(load(Recipe, file).config)).config
    assert [(loss.name, loss.from_epoch, loss.until_epoch) for loss in small.losses] == [
        ("cross_entropy", 0, 1),
        ("label_aware_smoothing", 1, 0),
    ]
    assert [(stage.from_epoch, stage.classifier, stage.mixup) for stage in small.train.stages] == [(1, "scale", 0)]


def test_a_dry_run_goes_through_every_phase_and_keeps_nothing(
    workplace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    argv = ["train", "--dry-run", "model.backbone=test_resnet", "data.input_size_px=32", "data.num_workers=0"]
    assert main(argv) == 0
    assert "dry run passed" in caplog.text
    assert not (workplace / "log").exists()


@pytest.mark.parametrize(
    ("stage", "rates"),
    [(0, 0.5), (9, 0.5), (10, 0.05), (19, 0.05), (20, 0.005), (30, 5e-4), (49, 5e-4), (50, 1e-4), (119, 1e-4)],
)
def test_the_2020_recipe_has_the_authors_rate_in_each_epoch(checkout: Path, stage: int, rates: float) -> None:
    from shelfmark.recipe import assemble

    recipe = load(Recipe, checkout / "configs" / "aliproducts_resnest50.yaml").config
    rate = assemble.learning_rate(recipe, steps_per_epoch=7)
    assert rate.at(7 * stage) == pytest.approx(rates)
    assert rate.at(7 * stage + 6) == pytest.approx(rates)


def test_the_2020_recipe_switches_its_sampler_at_epoch_40(checkout: Path) -> None:
    recipe = load(Recipe, checkout / "configs" / "aliproducts_resnest50.yaml").config
    assert (recipe.sampling.type, recipe.train.num_epochs, recipe.train.batch_size) == ("instance", 120, 512)
    assert [(stage.from_epoch, stage.type) for stage in recipe.sampling.stages] == [(40, "class_balanced")]
    assert (recipe.data.input_size_px, int(recipe.data.input_size_px / recipe.data.eval_crop)) == (112, 128)
