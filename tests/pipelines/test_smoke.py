"""Every config runs small, from seeded weights, with the shop as data."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from shelfmark.cli import main
from shelfmark.config.load import load
from shelfmark.engine import precision_trial
from shelfmark.engine.checkpoint import load_checkpoint
from shelfmark.models.backbones import build_backbone
from shelfmark.recipe import Recipe, assemble
from shelfmark.runtime.small_runs import smoke_overrides

FOLDER = Path(__file__).parents[2] / "configs"
CONFIGS = sorted(
    path.relative_to(FOLDER).as_posix().removesuffix(".yaml")
    for path in FOLDER.rglob("*.yaml")
    # Those of discovery run small by their own command, in test_discover_recipes.py.
    if "base" not in path.stem and path.parent.name != "discovery"
)


# Recipes that build the same network, losses, batches and schedule as another, so that one small run speaks for both.
LIKE = {
    "longtail/plain": "shop",
    "retrieval/fastretri_cars": "retrieval/fastretri_cub",
    "retrieval/fastretri_cub_fixed": "retrieval/fastretri_cub",
    "retrieval/fastretri_cars_fixed": "retrieval/fastretri_cub",
    "retrieval/fastretri_inshop": "retrieval/fastretri_sop",
    "retrieval/smoothap_inat": "retrieval/smoothap_sop",
    "retrieval/smoothap_vehicleid": "retrieval/smoothap_sop",
}


def parts_that_run(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe decides which code runs: the numbers of its losses and of its rate do not."""
    options = recipe.model_dump(mode="json")
    losses = [{key: type(value) for key, value in loss.items() if key != "name"} for loss in options["losses"]]
    optim = {key: value if isinstance(value, bool) else type(value) for key, value in options["optim"].items()}
    optim |= {"name": recipe.optim.name, "schedule": recipe.optim.schedule.name}
    return {
        **{key: options[key] for key in ("model", "sampling", "train")},
        "losses": [(loss.name, *kinds.items()) for loss, kinds in zip(recipe.losses, losses)],
        "optim": {key: value for key, value in optim.items() if key != "nesterov"},
    }


@pytest.fixture(autouse=True)
def _untried(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that gains nothing by bfloat16: the trial, which has tests of its own, is a tenth of a run."""
    monkeypatch.setattr(precision_trial, "bf16_gain", lambda backbone, size_px: 1.0)


@pytest.mark.parametrize("name", LIKE)
def test_recipes_that_share_a_small_run_differ_in_numbers_and_transforms_alone(checkout: Path, name: str) -> None:
    files = [checkout / "configs" / f"{one}.yaml" for one in (name, LIKE[name])]
    small, other = (load(Recipe, file, smoke_overrides(load(Recipe, file).config)).config for file in files)
    assert parts_that_run(small) == parts_that_run(other)
    assert small.name != other.name


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in LIKE])
def test_every_config_runs_small(workplace: Path, name: str) -> None:
    assert main(["train", "--config", f"configs/{name}.yaml", "--smoke"]) == 0
    folder = workplace / "log" / f"{name.replace('/', '_')}_smoke"
    manifest = load_checkpoint(folder / "last").manifest
    assert (manifest["step"], manifest["epoch"]) == (8, 2)
    backbone = load(Recipe, workplace / "configs" / f"{name}.yaml").config.model.backbone
    assert manifest["config"]["model"]["backbone"] == backbone
    summary = json.loads((folder / "summary.json").read_text())
    assert 0 <= summary["recall@1"] <= 1
    # Recipes of sets of new classes have no pictures of the trained ones to classify.
    assert ("top1" in summary) == (manifest["config"]["data"]["val_json"] is not None)


# A small run makes ResNets and transformers narrow and pictures small.
@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in LIKE])
def test_every_config_has_a_network_in_full_size(checkout: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Autocast knows no tensors without content.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    recipe = load(Recipe, checkout / "configs" / f"{name}.yaml").config
    with torch.device("meta"):
        network = assemble.network(recipe, num_classes=50030, load_weights=False)
        plain, num_features = build_backbone(recipe.model.backbone, seed=0)
        outputs = network(torch.empty(2, 3, recipe.data.input_size_px, recipe.data.input_size_px))
    width = recipe.model.embedding_dim or num_features
    assert outputs.embedding.shape == (2, width * recipe.model.experts)
    assert outputs.logits is None or outputs.logits.shape == (2, 50030)
    assert {loss.head for loss in recipe.losses} <= {"classifier", *outputs.heads}
    num_parameters = {one: sum(each.numel() for each in one.parameters()) for one in (network, plain)}
    assert num_parameters[network] >= num_parameters[plain]


def test_a_small_run_of_two_stages_has_the_losses_of_both(checkout: Path) -> None:
    file = checkout / "configs" / "longtail" / "mislas.yaml"
    small = load(Recipe, file, smoke_overrides(load(Recipe, file).config)).config
    assert [(loss.name, loss.from_epoch, loss.until_epoch) for loss in small.losses] == [
        ("cross_entropy", 0, 1),
        ("label_aware_smoothing", 1, 0),
    ]
    assert [(stage.from_epoch, stage.classifier, stage.mixup) for stage in small.train.stages] == [(1, "scale", 0)]


def test_a_dry_run_goes_through_every_phase_and_keeps_nothing(
    workplace: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["train", "--dry-run", "model.backbone=test_resnet", "data.input_size_px=32", "data.num_workers=0"]
    assert main([*argv, "train.num_epochs=1"]) == 0
    # The recipe's warm-up does not end within an epoch.
    assert capsys.readouterr().err.count("note: optim.schedule.warmup_epochs") == 1
    assert "dry run passed" in caplog.text
    assert not (workplace / "log").exists()


@pytest.mark.parametrize(
    ("stage", "rates"),
    [(0, 0.5), (9, 0.5), (10, 0.05), (19, 0.05), (20, 0.005), (30, 5e-4), (49, 5e-4), (50, 1e-4), (119, 1e-4)],
)
def test_the_2020_recipe_has_the_authors_rate_in_each_epoch(checkout: Path, stage: int, rates: float) -> None:
    recipe = load(Recipe, checkout / "configs" / "aliproducts_resnest50.yaml").config
    rate = assemble.learning_rate(recipe, steps_per_epoch=7)
    assert rate.at(7 * stage) == pytest.approx(rates)
    assert rate.at(7 * stage + 6) == pytest.approx(rates)


def test_the_2020_recipe_switches_its_sampler_at_epoch_40(checkout: Path) -> None:
    recipe = load(Recipe, checkout / "configs" / "aliproducts_resnest50.yaml").config
    assert (recipe.sampling.type, recipe.train.num_epochs, recipe.train.batch_size) == ("instance", 120, 512)
    assert [(stage.from_epoch, stage.type) for stage in recipe.sampling.stages] == [(40, "class_balanced")]
    assert (recipe.data.input_size_px, int(recipe.data.input_size_px / recipe.data.eval_crop)) == (112, 128)
