"""The recipes under configs/retrieval have the values of the code and papers that they are named for."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.errors import UserError
from shelfmark.losses import LossContext
from shelfmark.recipe import Recipe, assemble
from shelfmark.runtime.small_runs import smoke_overrides

FOLDER = Path(__file__).parents[2] / "configs" / "retrieval"

# Typed from the original configs after inheritance. A value stands once for all four data sets, or once for each.
DATASETS = ("cub", "cars", "sop", "inshop")
FASTRETRI: dict[str, Any] = {
    "model.backbone": "resnet50",
    "model.last_stride": 1,
    "model.freeze_bn": True,
    "model.freeze_bn_affine": True,
    "model.weights": "resnet50-19c8e357.pth",
    "model.pooling.name": "gem",
    "model.pooling.p": 3.0,
    "model.pooling.trainable": False,
    "model.embedding_dim": 0,
    "model.neck": "bn",
    "model.classifier.type": "linear",
    "model.classifier.bias": False,
    "losses.0.name": "cross_entropy",
    "losses.0.weight": 1.0,
    "losses.0.smoothing_form": "others",
    "losses.0.label_smoothing": [0.3, 0.4, 0.1, 0.1],
    "data.mean": (0.485, 0.456, 0.406),
    "data.std": (0.229, 0.224, 0.225),
    "augment.resize_px": [(256,), (256, 256), (256, 256), ()],
    "data.eval_resize_px": [(256,), (256, 256), (256, 256), ()],
    "data.interpolation": "bicubic",
    "data.input_size_px": 224,
    "augment.crop_scale": (0.16, 1.0),
    "augment.crop_ratio": [(0.75, 1.3333), (1.0, 1.0), (0.75, 1.3333), (0.75, 1.3333)],
    "augment.flip": 0.5,
    "augment.color_jitter": [(0.25, 0.25, 0.25, 0.0), (0.3, 0.3, 0.3, 0.1), (0, 0, 0, 0), (0, 0, 0, 0)],
    "augment.color_jitter_probability": 0.5,
    "augment.randaugment.num_ops": 0,
    "augment.erasing": 0.0,
    "augment.crop_padding_px": 0,
    "sampling.type": "instance",
    "train.batch_size": 128,
    "data.num_workers": 8,
    "train.num_epochs": [30, 100, 100, 100],
    "optim.name": "sgd",
    "optim.lr": [0.02, 0.05, 0.003, 0.003],
    "optim.momentum": [0.0, 0.0, 0.99, 0.99],
    "optim.nesterov": [False, False, True, True],
    "optim.weight_decay": 5e-4,
    "optim.decay_norm_and_bias": True,
    "optim.schedule.name": "cosine",
    "optim.schedule.per_epoch": True,
    "optim.schedule.warmup_steps": 1000,
    "optim.schedule.warmup_factor": 0.1,
    "optim.non_backbone_lr_factor": 1.0,
    "model.freeze": (),
    "optim.clip_norm": 5.0,
    "train.precision": "auto",
    "train.checkpoint_every_epochs": 10,
    "eval.every_epochs": 10,
    "eval.batch_size": 256,
    "eval.metric": "recall@1",
    "eval.retrieval_metric": "cosine",
    "eval.recall_at": [(1, 2, 4, 8, 16, 32), (1, 2, 4, 8, 16, 32), (1, 10, 100, 1000), (1, 10, 20, 30, 40, 50)],
}
SMALLEST_RATE = {"cub": 2e-5, "cars": 5e-4, "sop": 3e-5, "inshop": 3e-5}


@cache
def recipe(name: str, *overrides: str) -> Recipe:
    return load(Recipe, FOLDER / f"{name}.yaml", [parse_override(text) for text in overrides]).config


def value(of: Any, path: str) -> Any:
    for part in path.split("."):
        of = of[int(part)] if part.isdecimal() else getattr(of, part)
    return of


def differences(left: Any, right: Any, place: str = "") -> set[str]:
    """The options in which two recipes differ."""
    if not isinstance(left, dict):
        return set() if left == right else {place}
    return {path for key in left for path in differences(left[key], right[key], f"{place}.{key}".strip("."))}


@pytest.mark.parametrize("dataset", DATASETS)
def test_fastretri_has_every_value_of_the_original_s_table(dataset: str) -> None:
    column = DATASETS.index(dataset)
    expected = {path: one[column] if isinstance(one, list) else one for path, one in FASTRETRI.items()}
    found = recipe(f"fastretri_{dataset}")
    assert {path: value(found, path) for path in expected} == expected
    assert found.optim.lr * found.optim.schedule.final_factor == pytest.approx(SMALLEST_RATE[dataset])


@pytest.mark.parametrize(
    ("dataset", "steps", "rates"),
    [
        # By epoch: at its first step. 0.1 + 0.9 step / 1000 of the base, then the cosine's k-th of T epochs.
        ("cub", 45, {0: 0.002, 22: 0.02 * (0.1 + 0.9 * 0.99), 23: 0.01901068, 29: 2e-5}),
        ("cars", 62, {0: 0.005, 16: 0.05 * (0.1 + 0.9 * 0.992), 17: 0.04998228, 99: 5e-4}),
        ("sop", 465, {0: 0.0003, 2: 0.003 * (0.1 + 0.9 * 0.93), 3: 0.00299922, 99: 3e-5}),
        ("inshop", 202, {0: 0.0003, 4: 0.003 * (0.1 + 0.9 * 0.808), 5: 0.00299919, 99: 3e-5}),
    ],
)
def test_fastretri_s_rate_in_the_epochs_of_the_published_training_sets(
    dataset: str, steps: int, rates: dict[int, float]
) -> None:
    rate = assemble.learning_rate(recipe(f"fastretri_{dataset}"), steps_per_epoch=steps)
    assert {epoch: rate.at(epoch * steps) for epoch in rates} == pytest.approx(rates, rel=1e-5)


@pytest.mark.parametrize("dataset", ["cub", "cars"])
def test_a_corrected_twin_differs_in_the_warm_up_alone(dataset: str) -> None:
    plain, fixed = (recipe(f"fastretri_{dataset}{end}") for end in ("", "_fixed"))
    assert differences(plain.model_dump(), fixed.model_dump()) == {"name", "optim.schedule.warmup_steps"}
    assert fixed.optim.schedule.warmup_steps == 100


def test_fastretri_s_network_and_optimizer_are_built_as_its_table_says() -> None:
    small = recipe("fastretri_sop", "model.backbone=resnet14t", "model.weights=")
    network = assemble.network(small, num_classes=5)
    groups = assemble.optimizer(small, network).param_groups
    assert [(group["name"], group["weight_decay"]) for group in groups] == [("backbone", 5e-4), ("head", 5e-4)]
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    # Convolutions, the neck's weight and the classifier's: one buffer of gradients, so that it is clipped as a whole.
    assert {name for name in learning if not name.startswith("backbone.")} == {
        "embedding.neck.weight",
        "classifier.weight",
    }
    assert all(network.get_parameter(name).ndim == 4 for name in learning if name.startswith("backbone."))
    assert network.backbone.forward_features(torch.zeros(1, 3, 64, 64)).shape[2:] == (4, 4)


RANKING: dict[str, dict[str, Any]] = {
    "pnp_sop": {
        "seed": 0,
        "losses.0.name": "pnp",
        "losses.0.variant": "D_q",
        "losses.0.alpha": 4,
        "losses.0.b": 2,
        "sampling.class_weighting": "uniform",
        "train.num_epochs": 400,
        "optim.schedule.milestones_epochs": (120, 220, 250, 280),
        "data.num_workers": 6,
        "eval.recall_at": (1, 10, 100, 1000),
    },
    "smoothap_sop": {
        "train.num_epochs": 400,
        "optim.schedule.milestones_epochs": (200, 300),
        "eval.recall_at": (1, 10, 100, 1000),
    },
    "smoothap_inat": {
        "train.num_epochs": 90,
        "optim.schedule.milestones_epochs": (40, 70),
        "eval.recall_at": (1, 4, 16, 32),
    },
    "smoothap_vehicleid": {
        "train.num_epochs": 400,
        "optim.schedule.milestones_epochs": (200, 300),
        "eval.recall_at": (1, 5),
    },
}
OF_ALL_RANKING: dict[str, Any] = {
    "model.backbone": "resnet50",
    "model.weights": "resnet50-19c8e357.pth",
    "model.embedding_dim": 512,
    "model.freeze_bn": True,
    "model.freeze_bn_affine": False,
    "model.heads.rank.dim": 0,
    "losses.0.head": "rank",
    "losses.0.temperature": 0.01,
    "losses.0.include_self": True,
    "sampling.type": "pk",
    "sampling.images_per_class": 4,
    "sampling.class_weighting": "by_count",
    "train.batch_size": 384,
    "optim.name": "adam",
    "optim.lr": 1e-5,
    "optim.weight_decay": 4e-4,
    "optim.decay_norm_and_bias": True,
    "optim.non_backbone_lr_factor": 1.0,
    "optim.schedule.name": "multistep",
    "optim.schedule.gamma": 0.3,
    "optim.schedule.warmup_epochs": 0.0,
    "data.input_size_px": 224,
    "data.eval_crop": 0.875,
    "data.eval_resize_px": None,
    "augment.crop_scale": (0.08, 1.0),
    "augment.flip": 0.5,
}


@pytest.mark.parametrize("name", RANKING)
def test_the_ranking_recipes_have_the_values_of_their_authors_commands(name: str) -> None:
    expected = {**OF_ALL_RANKING, "seed": 1, "losses.0.name": "smooth_ap", **RANKING[name]}

    def found(path: str) -> Any:
        return recipe(name).model.heads["rank"].dim if path == "model.heads.rank.dim" else value(recipe(name), path)

    assert {path: found(path) for path in expected} == expected


@pytest.mark.parametrize("variant", ["O", "I_u", "I_b", "D_s", "D_q"])
def test_every_variant_of_pnp_is_one_key_away(variant: str) -> None:
    loss = recipe("pnp_sop", f"losses.0.variant={variant}").losses[0]
    built: Any = loss.build(LossContext(torch.ones(3, dtype=torch.int64), torch.device("cpu")))
    assert built.variant == variant


def test_of_the_transformer_the_last_block_its_norm_the_token_and_the_positions_learn() -> None:
    vit = recipe("smoothap_inat_vit")
    assert (vit.model.weights, vit.model.embedding_dim) == ("dino_vitbase16_pretrain.pth", 0)
    small = load(Recipe, FOLDER / "smoothap_inat_vit.yaml", smoke_overrides(vit)).config
    network = assemble.network(small, num_classes=3)
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert {name.removeprefix("backbone.").split(".")[0] for name in learning} == {
        "blocks",
        "norm",
        "cls_token",
        "pos_embed",
    }
    assert {name for name in learning if "blocks" in name} == {
        name for name, _ in network.named_parameters() if "blocks.11." in name
    }
    fixed = load(Recipe, FOLDER / "smoothap_inat_vit_fixed.yaml", smoke_overrides(vit)).config
    corrected = assemble.network(fixed, num_classes=3)
    still_learning = {name for name, parameter in corrected.named_parameters() if parameter.requires_grad}
    assert learning - still_learning == {"backbone.cls_token", "backbone.pos_embed"}
    assert still_learning < learning


def test_the_modern_recipe_s_layers_learn_slower_downwards() -> None:
    modern = recipe("siglip_sop")
    small = load(Recipe, FOLDER / "siglip_sop.yaml", smoke_overrides(modern)).config
    groups = assemble.optimizer(small, assemble.network(small, num_classes=3)).param_groups
    factors = {group["name"].removesuffix(".no_decay"): group["lr_factor"] for group in groups}
    assert factors == pytest.approx(
        {"backbone": 1.0, **{f"backbone.below{number}": 0.7**number for number in range(1, 14)}, "head": 5}
    )


@pytest.mark.parametrize(
    "overrides",
    [
        ("model.classifier={type: cosine, scale: 32}", "losses=[{name: cosface, head: classifier, margin: 0.2}]"),
        ("model.classifier={type: cosine, scale: 32}", "losses=[{name: cross_entropy}]"),
        ("model.heads={proxies: {type: proxy, dim: 512}}", "losses=[{name: arcface, head: proxies}]"),
    ],
)
def test_margins_and_cosines_take_the_place_of_fastretri_s_classifier(overrides: tuple[str, ...]) -> None:
    small = recipe("fastretri_cub", "model.backbone=test_resnet", "model.last_stride=2", "model.weights=", *overrides)
    network = assemble.network(small, num_classes=5).train()
    outputs = network(torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert outputs.embedding.shape[0] == 6
    page = (FOLDER.parents[1] / "docs" / "retrieval.md").read_text(encoding="utf-8")
    assert all(override in page for override in overrides)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.pooling={name: avg, trainable: true}", "trainable=true is an option of gem"),
        ("model.freeze_bn_affine=true", "freeze_bn_affine=true works only together with freeze_bn=true"),
        ("optim.schedule={name: constant, per_epoch: true}", "per_epoch=true is an option of cosine"),
        ("optim.schedule={warmup_steps: 5, warmup_epochs: 1}", "both say how long"),
        ("augment.resize_px=[1, 2, 3]", r"augment\.resize_px"),
        ("data.eval_resize_px=[1, 2, 3]", r"data\.eval_resize_px"),
        ("model.last_stride=3", r"model\.last_stride"),
    ],
)
def test_options_that_do_not_fit_are_refused(checkout: Path, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(Recipe, checkout / "configs" / "shop.yaml", [parse_override(override)])
