"""Experts: what they share, what each has of its own, and what the network gives of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from small_networks import small_network
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.models.backbones import build_backbone
from shelfmark.models.backbones.experts import ExpertBackbone, ExpertEmbedding
from shelfmark.models.network import Network
from shelfmark.models.weights import load_matching
from shelfmark.ops.experts import expert_logits, weighed_experts


def network(**options: Any) -> Network:
    return small_network(**{"experts": 3, **options})


def images(count: int = 4, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(3))


def test_each_head_has_its_shape_and_the_classifier_is_the_experts_mean() -> None:
    outputs = network(embedding_dim=5, heads={"rank": {"dim": 8}})(images())
    assert outputs.embedding.shape == (4, 15)
    assert {name: tuple(value.shape) for name, value in outputs.heads.items()} == {
        "classifier": (4, 7),
        "rank": (4, 8),
        "experts": (4, 3, 7),
        "expert_1": (4, 7),
        "expert_2": (4, 7),
        "expert_3": (4, 7),
    }
    torch.testing.assert_close(outputs.heads["experts"].mean(1), outputs.logits)
    for number in (1, 2, 3):
        assert torch.equal(outputs.heads[f"expert_{number}"], outputs.heads["experts"][:, number - 1])


@pytest.mark.parametrize("embedding_dim", [0, 5])
def test_an_experts_logits_are_those_of_a_network_of_its_own(embedding_dim: int) -> None:
    model = network(embedding_dim=embedding_dim).double().eval()
    outputs = model(images().double())
    maps = model.backbone.shared(images().double())
    for number, (expert, layer) in enumerate(zip(model.backbone.experts, model.embedding.layers)):
        features = layer(expert(maps))
        block = slice(number * features.shape[1], (number + 1) * features.shape[1])
        expected = features @ model.classifier.weight[:, block].T + model.classifier.bias
        torch.testing.assert_close(outputs.heads["experts"][:, number], expected)


def test_one_expert_is_the_plain_network_with_its_names() -> None:
    plain, one = small_network(), network(experts=1)
    assert {key: value.shape for key, value in plain.state_dict().items()} == {
        key: value.shape for key, value in one.state_dict().items()
    }
    assert list(one(images()).heads) == ["classifier"]


@pytest.mark.parametrize(("name", "num_stages"), [("resnet18", 1), ("resnest14d", 3), ("resnet32_cifar", 2)])
def test_a_split_backbone_of_equal_parts_gives_the_whole_ones_features_twice(name: str, num_stages: int) -> None:
    with torch.no_grad():
        expected = build_backbone(name, seed=0)[0].eval()(images(2))
        split = ExpertBackbone([build_backbone(name, seed=0)[0] for _ in range(2)], num_stages).eval()
        torch.testing.assert_close(split(images(2)), torch.cat([expected, expected], dim=1))


def test_the_early_stages_exist_once_and_the_last_for_each_expert() -> None:
    plain, split = build_backbone("test_resnet", seed=0)[0], network(expert_stages=1).backbone
    own = sum(parameter.numel() for parameter in plain.layer4.parameters())
    all_of_plain = sum(parameter.numel() for parameter in plain.parameters())
    assert sum(parameter.numel() for parameter in split.parameters()) == all_of_plain + 2 * own
    assert not list(split.shared.layer4.parameters())


def test_experts_start_from_weights_of_their_own_that_follow_from_the_seed() -> None:
    experts = network(seed=4).backbone.experts
    first, second, third = (expert.state_dict()["layer4.0.conv1.weight"] for expert in experts)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    plain = build_backbone("test_resnet", seed=4)[0].state_dict()["layer4.0.conv1.weight"]
    assert torch.equal(first, plain)
    again = network(seed=4).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in network(seed=4).state_dict().items())


def test_all_experts_start_from_loaded_weights(tmp_path: Path) -> None:
    state = timm.create_model("test_resnet", pretrained=False).state_dict()
    torch.save(state, tmp_path / "weights.pth")
    backbone = network(weights=str(tmp_path / "weights.pth")).backbone
    assert torch.equal(backbone.shared.state_dict()["layer1.0.conv1.weight"], state["layer1.0.conv1.weight"])
    for expert in backbone.experts:
        assert torch.equal(expert.state_dict()["layer4.0.conv1.weight"], state["layer4.0.conv1.weight"])
    first, second, _ = (next(expert.parameters()) for expert in backbone.experts)
    assert first.data_ptr() != second.data_ptr()


def test_a_loss_of_one_expert_reaches_its_part_and_the_shared_one_alone() -> None:
    model = network(embedding_dim=5)
    model(images()).heads["expert_2"].square().sum().backward()
    reached = [
        any(bool(parameter.grad.any()) for parameter in expert.parameters() if parameter.grad is not None)
        for expert in model.backbone.experts
    ]
    assert reached == [False, True, False]
    assert bool(next(model.backbone.shared.parameters()).grad.any())
    blocks = model.classifier.weight.grad.unflatten(1, (3, 5)).abs().sum((0, 2))
    assert [bool(total) for total in blocks] == [False, True, False]


def test_frozen_parts_stay_and_a_restarted_classifier_leaves_the_experts() -> None:
    model = network(freeze=["backbone"])
    assert not any(parameter.requires_grad for parameter in model.backbone.parameters())
    assert not any(module.training for module in model.backbone.modules())
    before = model.classifier.weight.clone()
    model.restart_classifier(0, "model.classifier.stage1")
    assert model.classifier.weight.shape == before.shape
    assert not torch.equal(model.classifier.weight, before)
    model.freeze(["backbone.shared"])
    assert all(parameter.requires_grad for parameter in model.backbone.experts.parameters())


def test_a_checkpoint_of_experts_loads_and_finetunes_to_other_classes() -> None:
    trained = network(seed=1)
    same = network(seed=2)
    assert load_matching(same, trained.state_dict()) == []
    assert torch.equal(same(images()).logits, trained(images()).logits)
    other = network(seed=2, num_classes=9)
    assert load_matching(other, trained.state_dict()) == ["classifier.weight", "classifier.bias"]
    with pytest.raises(UserError, match="another network than"):
        load_matching(network(experts=2), trained.state_dict())


def test_what_cannot_be_split_is_refused_with_what_can() -> None:
    with pytest.raises(UserError, match=r"ConvNeXt cannot be split into experts.*resnet50, resnext50_32x4d, resnest"):
        network(backbone="test_convnext")
    with pytest.raises(UserError, match=r"model\.expert_stages=5: this backbone has 4 stages; give 1 to 4"):
        network(expert_stages=5)


def test_the_embedding_is_the_experts_side_by_side_divided_by_their_number() -> None:
    embedding = ExpertEmbedding(num_experts=2, num_features=3)
    assert embedding(torch.tensor([[2.0, 4, 6, 8, 10, 12]])).tolist() == [[1, 2, 3, 4, 5, 6]]


def test_logits_of_experts_are_worked_out_by_hand() -> None:
    # Experts see 3 and 5, halved in the embedding; their rows are 2 and 10 for class 0, 1 and 0 for class 1.
    embedding, weight = torch.tensor([[1.5, 2.5]]), torch.tensor([[2.0, 10], [1, 0]])
    logits = expert_logits(embedding, weight, torch.tensor([0.5, 0]), 2)
    assert logits.tolist() == [[[6.5, 3], [50.5, 0]]]
    weighed = weighed_experts(weight, torch.tensor([0.25, 0.75]))
    assert (embedding @ weighed.T + torch.tensor([0.5, 0])).tolist() == [[0.25 * 6.5 + 0.75 * 50.5, 0.75]]
