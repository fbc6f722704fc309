"""Which parameters learn how fast, and which decay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from shelfmark.optim import OptimOptions, build_optimizer, parameter_groups


class Small(nn.Module):
    """A network of the names that Shelfmark's has, with a norm layer and biases in each part."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.embedding = nn.Linear(4, 2)
        self.classifier = nn.Linear(2, 3)
        self.heads = nn.ModuleDict({"metric": nn.LayerNorm(2)})


def groups_of(network: nn.Module, layers: dict[str, int] | None = None, **options: Any) -> list[dict[str, Any]]:
    return parameter_groups(network, OptimOptions(**{"lr": 0.1, "weight_decay": 0.01, **options}), layers)


def members(network: nn.Module, **options: Any) -> dict[str, list[str]]:
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = groups_of(network, **options)
    return {group["name"]: [names[id(parameter)] for parameter in group["params"]] for group in groups}


def test_norms_and_biases_stand_apart_from_what_decays() -> None:
    assert members(Small()) == {
        "backbone": ["backbone.0.weight"],
        "backbone.no_decay": ["backbone.0.bias", "backbone.1.weight", "backbone.1.bias"],
        "head": ["embedding.weight", "classifier.weight"],
        "head.no_decay": ["embedding.bias", "classifier.bias", "heads.metric.weight", "heads.metric.bias"],
    }


def test_with_decay_everywhere_there_are_two_groups_of_all_parameters() -> None:
    network = Small()
    found = members(network, decay_norm_and_bias=True)
    assert list(found) == ["backbone", "head"]
    assert sorted(found["backbone"] + found["head"]) == sorted(name for name, _ in network.named_parameters())


def test_frozen_parameters_and_empty_groups_are_left_out() -> None:
    network = Small()
    network.backbone.requires_grad_(False)
    network.embedding.weight.requires_grad_(False)
    found = members(network)
    assert list(found) == ["head", "head.no_decay"]
    assert found["head"] == ["classifier.weight"]


def test_rates_and_decay_of_each_group() -> None:
    groups = {group["name"]: group for group in groups_of(Small(), non_backbone_lr_factor=5)}
    assert {name: group["weight_decay"] for name, group in groups.items()} == {
        "backbone": 0.01,
        "backbone.no_decay": 0.0,
        "head": 0.01,
        "head.no_decay": 0.0,
    }
    assert [group["lr_factor"] for group in groups.values()] == [1.0, 1.0, 5, 5]
    assert [group["lr"] for group in groups.values()] == pytest.approx([0.1, 0.1, 0.5, 0.5])


def test_one_step_without_gradient_shrinks_only_what_decays() -> None:
    network = Small()
    optimizer = build_optimizer(OptimOptions(), groups_of(network, weight_decay=0.5))
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in network.named_parameters():
        factor = 0.95 if parameter.ndim > 1 else 1.0
        assert torch.allclose(parameter, factor * before[name]), name


def test_a_saved_optimizer_finds_its_groups_again() -> None:
    network = Small()
    adamw = OptimOptions(name="adamw")
    optimizer = build_optimizer(adamw, groups_of(network, non_backbone_lr_factor=3))
    network.classifier(network.embedding(torch.ones(1, 4))).sum().backward()
    optimizer.step()
    fresh = build_optimizer(adamw, groups_of(network, lr=0.2, weight_decay=0.0))
    fresh.load_state_dict(optimizer.state_dict())
    assert [group["name"] for group in fresh.param_groups] == [group["name"] for group in optimizer.param_groups]
    assert [group["lr_factor"] for group in fresh.param_groups] == [1.0, 1.0, 3, 3]
    weight = network.classifier.weight
    assert torch.equal(fresh.state[weight]["exp_avg"], optimizer.state[weight]["exp_avg"])


def test_lower_layers_of_the_backbone_learn_slower_by_a_power_of_the_decay() -> None:
    layers = {"0.weight": 2, "0.bias": 2, "1.weight": 1, "1.bias": 0}
    options = {"non_backbone_lr_factor": 5, "layer_decay": 0.5, "layers": layers}
    assert members(Small(), **options) == {
        "backbone.no_decay": ["backbone.1.bias"],
        "backbone.below1.no_decay": ["backbone.1.weight"],
        "backbone.below2": ["backbone.0.weight"],
        "backbone.below2.no_decay": ["backbone.0.bias"],
        "head": ["embedding.weight", "classifier.weight"],
        "head.no_decay": ["embedding.bias", "classifier.bias", "heads.metric.weight", "heads.metric.bias"],
    }
    groups = groups_of(Small(), **options)
    assert [group["lr_factor"] for group in groups] == [1.0, 0.5, 0.25, 0.25, 5, 5]
    assert [group["lr"] for group in groups] == pytest.approx([0.1, 0.05, 0.025, 0.025, 0.5, 0.5])
    assert [group["weight_decay"] for group in groups] == [0.0, 0.0, 0.01, 0.0, 0.01, 0.0]
    # With the same rate everywhere the groups are those that a saved optimizer knows.
    assert list(members(Small(), layers=layers)) == ["backbone", "backbone.no_decay", "head", "head.no_decay"]
