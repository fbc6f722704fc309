"""The recipes of progressive sample selection have the values of its code; the table is typed from its description."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from shelfmark.config.errors import ConfigError
from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.pipelines.discover.smoke import discovery_smoke_overrides
from shelfmark.recipe import Recipe

FOLDER = Path(__file__).parents[2] / "configs" / "discovery"

# Where two stand, the second is the transformer's.
ORIGINAL: dict[str, Any] = {
    "seed": 1,
    "model.backbone": ["resnet50", "vit_base_patch16_224"],
    "model.weights": ["resnet50-19c8e357.pth", "dino_vitbase16_pretrain.pth"],
    "model.embedding_dim": [128, 0],
    "model.freeze_bn": True,
    "model.freeze_bn_affine": False,
    "losses.0.name": "smooth_ap",
    "losses.0.head": "rank",
    "losses.0.temperature": 0.01,
    "losses.0.include_self": True,
    "sampling.type": "pk",
    "sampling.images_per_class": 4,
    "train.batch_size": 384,
    "train.num_epochs": 400,
    "optim.name": "adam",
    "optim.lr": 1e-5,
    "optim.weight_decay": 4e-4,
    "discovery.later_weight_decay": 1e-3,
    "optim.decay_norm_and_bias": True,
    "optim.non_backbone_lr_factor": 1.0,
    "optim.schedule.name": "multistep",
    "optim.schedule.gamma": 0.3,
    "optim.schedule.milestones_epochs": (40, 70),
    "data.input_size_px": 224,
    "data.eval_crop": 0.875,
    "augment.crop_scale": (0.08, 1.0),
    "augment.flip": 0.5,
    "eval.every_epochs": 5,
    "eval.recall_at": (1, 4, 16, 32),
    "discovery.rounds": 5,
    "discovery.val_classes": 0.0,
    "discovery.warm_start": False,
    "discovery.reselect": False,
    "discovery.clusterer.name": "lander",
    "discovery.clusterer.k": 10,
    "discovery.clusterer.fit_on": "trained",
    "discovery.clusterer.lander.ks": (10, 5, 3),
    "discovery.clusterer.lander.levels": (2, 3, 4),
    "discovery.clusterer.lander.layer": "gat",
    "discovery.clusterer.lander.num_layers": 1,
    "discovery.clusterer.lander.heads": 1,
    "discovery.clusterer.lander.hidden": 512,
    "discovery.clusterer.lander.cluster_features": False,
    "discovery.clusterer.lander.balance": True,
    "discovery.clusterer.lander.focal": False,
    "discovery.clusterer.lander.epochs": 1000,
    "discovery.clusterer.lander.batch_size": 4096,
    "discovery.clusterer.lander.optimizer": "sgd",
    "discovery.clusterer.lander.lr": 0.01,
    "discovery.clusterer.lander.weight_decay": 1e-5,
    "discovery.clusterer.lander.tau": 0.9,
    "discovery.clusterer.lander.max_levels": 10,
    "discovery.clusterer.lander.early_stop": True,
    "discovery.selection.density_threshold": [0.8, 0.65],
    "discovery.selection.min_size": 1,
    "discovery.selection.max_size": 0,
    "discovery.selection.min_distance_to_known": 0.0,
    "discovery.selection.join_known": False,
    "discovery.selection.weight_by_density": False,
}
IMPROVEMENTS = {
    "warm_start": True,
    "reselect": True,
    "selection.join_known": True,
    "selection.weight_by_density": True,
    "selection.density_threshold": None,
    "clusterer.fit_on": "auto",
}
"""What is done otherwise than by the original where a recipe says nothing; each is one option."""


@cache
def recipe(name: str, *overrides: str) -> Recipe:
    return load(Recipe, FOLDER / f"{name}.yaml", [parse_override(text) for text in overrides]).config


def value(of: Any, path: str) -> Any:
    for part in path.split("."):
        of = of[int(part)] if part.isdecimal() else getattr(of, part)
    return of


@pytest.mark.parametrize(("index", "name"), [(0, "pss_inat"), (1, "pss_inat_vit")])
def test_the_recipe_has_the_values_of_the_original(index: int, name: str) -> None:
    expected = {path: found[index] if isinstance(found, list) else found for path, found in ORIGINAL.items()}
    assert {path: value(recipe(name), path) for path in expected} == expected


def test_of_the_transformer_all_blocks_but_the_last_are_frozen() -> None:
    frozen = recipe("pss_inat_vit").model.freeze
    assert frozen == ("backbone.patch_embed", *(f"backbone.blocks.{block}" for block in range(11)))


def test_the_default_has_every_improvement_and_each_can_be_switched_off() -> None:
    default = load(Recipe, None).config.discovery
    assert {path: value(default, path) for path in IMPROVEMENTS} == IMPROVEMENTS
    # Classes are drawn alike there, and so are the images of each.
    of_shop = IMPROVEMENTS | {"selection.weight_by_density": False}
    assert {path: value(recipe("shop").discovery, path) for path in IMPROVEMENTS} == of_shop
    for path in ("warm_start", "reselect", "selection.join_known", "selection.weight_by_density"):
        assert value(recipe("shop", f"discovery.{path}=false").discovery, path) is False


@pytest.mark.parametrize("name", ["shop", "pss_inat", "pss_inat_vit"])
def test_a_small_run_is_of_the_shop_and_seeded_weights(name: str) -> None:
    small = load(Recipe, FOLDER / f"{name}.yaml", discovery_smoke_overrides(recipe(name))).config
    assert small.discovery.annotations == Path("dataset/shop/discovery.json")
    assert (small.model.weights, small.data.input_size_px, small.discovery.rounds) == ("", 64, 2)
    assert small.discovery.selection.join_known == recipe(name).discovery.selection.join_known


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("discovery.clusterer.lander.ks=[10, 5]", "as many entries"),
        ("discovery.clusterer.name=finch", "discovery.clusterer.name='finch' is not one of"),
        ("discovery.selection.min_size=0", "discovery.selection.min_size=0"),
        ("discovery.rounds=0", "discovery.rounds=0"),
    ],
)
def test_impossible_options_are_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        recipe("pss_inat", override)
