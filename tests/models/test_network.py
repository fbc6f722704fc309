"""The network as a whole: what it returns, what stays frozen, what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_networks import METRIC_8, proxies
from small_networks import small_network as network
from torch import Tensor, nn

from shelfmark.core.contracts import Proxies
from shelfmark.core.errors import UserError
from shelfmark.models.network import Network
from shelfmark.models.options import ModelOptions


def images(count: int = 4, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(3))


def statistics(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items() if "running" in name}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_a_pass_gives_embedding_logits_and_metric_vectors() -> None:
    outputs = network(embedding_dim=16, heads={"plain": {}, "small": METRIC_8})(images())
    assert outputs.embedding.shape == (4, 16)
    assert {name: tuple(value.shape) for name, value in outputs.heads.items()} == {
        "classifier": (4, 7),
        "plain": (4, 16),
        "small": (4, 8),
    }
    assert outputs.logits is outputs.heads["classifier"]


def test_a_proxy_head_gives_vectors_and_the_proxies_of_every_class() -> None:
    model = network(embedding_dim=16, heads={"proxies": proxies(8, 3)})
    output = model(images()).heads["proxies"]
    assert isinstance(output, Proxies)
    assert output.embeddings.shape == (4, 8)
    assert output.weight.shape == (7, 3, 8)
    assert [name for name in model.state_dict() if name.startswith("heads.")] == [
        "heads.proxies.weight",
        "heads.proxies.projection.weight",
        "heads.proxies.projection.bias",
    ]


def test_proxies_follow_from_the_seed_and_the_heads_name() -> None:
    heads = {"a": proxies(), "b": proxies()}
    state, again = network(seed=4, heads=heads).state_dict(), network(seed=4, heads=heads).state_dict()
    assert torch.equal(state["heads.a.weight"], again["heads.a.weight"])
    assert not torch.equal(state["heads.a.weight"], state["heads.b.weight"])
    assert not torch.equal(state["heads.a.weight"], network(seed=5, heads=heads).state_dict()["heads.a.weight"])


def test_names_in_the_state_dict_are_stable() -> None:
    parts: dict[str, list[str]] = {}
    for name in network(embedding_dim=16, heads={"small": METRIC_8}).state_dict():
        parts.setdefault(name.split(".")[0], []).append(name)
    assert list(parts) == ["backbone", "embedding", "classifier", "heads"]
    assert "backbone.layer1.0.conv1.weight" in parts["backbone"]
    assert parts["embedding"] == ["embedding.weight", "embedding.bias"]
    assert parts["classifier"] == ["classifier.weight", "classifier.bias"]
    assert parts["heads"] == ["heads.small.projection.weight", "heads.small.projection.bias"]


def test_without_embedding_layer_the_features_are_the_embedding() -> None:
    model = network().eval()
    assert torch.equal(model.embed(images()), model.backbone(images()))
    assert model.classifier.weight.shape == (7, 96)


def test_each_part_follows_from_the_seed_and_its_name_alone() -> None:
    plain, rich = network(seed=4), network(seed=4, heads={"a": METRIC_8, "b": METRIC_8})
    state = rich.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in plain.state_dict().items())
    assert not torch.equal(state["heads.a.projection.weight"], state["heads.b.projection.weight"])
    other = network(seed=5).state_dict()
    assert not torch.equal(other["classifier.weight"], state["classifier.weight"])


def test_building_leaves_the_global_generator_as_it_was() -> None:
    before = torch.get_rng_state()
    network(embedding_dim=8, classifier={"type": "cosine"}, heads={"a": METRIC_8})
    assert torch.equal(torch.get_rng_state(), before)


def test_under_autocast_training_scores_in_low_precision_and_evaluation_in_float32() -> None:
    model = network(embedding_dim=16, heads={"metric": {}})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        training = model(images())
        scored = model.eval()(images())
    assert training.embedding.dtype == scored.embedding.dtype == torch.float32
    assert training.heads["metric"].dtype == torch.float32
    assert training.logits.dtype == torch.bfloat16
    assert scored.logits.dtype == torch.float32


@pytest.mark.parametrize("classifier", ["linear", "cosine"])
def test_scores_from_stored_features_are_those_of_the_pass(classifier: str) -> None:
    model = network(classifier={"type": classifier}).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(images())
    assert torch.equal(model.logits(outputs.embedding), outputs.logits)


def test_a_frozen_backbone_keeps_parameters_and_statistics() -> None:
    model = network(freeze=["backbone"]).train()
    before = statistics(model.backbone)
    model(images()).logits.sum().backward()
    assert not changed(before, statistics(model.backbone))
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == {
        "classifier.weight",
        "classifier.bias",
    }


def test_freezing_a_stage_leaves_the_others_learning() -> None:
    model = network(freeze=["backbone.layer1", "backbone.bn1"])
    before = statistics(model)
    model(images())
    drifted = changed(before, statistics(model))
    assert not [name for name in drifted if name.startswith(("backbone.layer1.", "backbone.bn1."))]
    assert [name for name in drifted if name.startswith("backbone.layer2.")]
    assert not any(parameter.requires_grad for parameter in model.backbone.layer1.parameters())
    assert all(parameter.requires_grad for parameter in model.backbone.layer2.parameters())


def test_what_is_frozen_can_change_and_what_never_learned_stays_so() -> None:
    model = network(freeze=["backbone"])
    assert not any(parameter.requires_grad for parameter in model.backbone.parameters())
    model.freeze(["classifier"])
    assert all(parameter.requires_grad for parameter in model.backbone.parameters())
    assert not model.classifier.weight.requires_grad
    assert model.backbone.training
    assert not model.classifier.training
    backbone = nn.Linear(4, 4)
    backbone.bias.requires_grad_(False)
    fixed = Network(backbone, nn.Identity(), network().classifier, {}, ModelOptions())
    fixed.freeze([])
    assert backbone.weight.requires_grad
    assert not backbone.bias.requires_grad


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_a_classifier_begins_anew_from_seed_and_role_alone(kind: str) -> None:
    one, two = (network(seed=seed, classifier={"type": kind}) for seed in (0, 1))
    before = one.classifier.weight.clone()
    with torch.no_grad():
        two.classifier.weight.mul_(3)
    for model in (one, two):
        model.restart_classifier(5, "stage")
    assert torch.equal(one.classifier.weight, two.classifier.weight)
    assert not torch.equal(one.classifier.weight, before)
    one.restart_classifier(5, "another stage")
    assert not torch.equal(one.classifier.weight, two.classifier.weight)


def test_freezing_survives_a_turn_of_evaluation() -> None:
    model = network(freeze=["backbone.layer1"])
    model.eval()
    model.train()
    assert not model.backbone.layer1.training
    assert model.backbone.layer2.training
    assert model.training


def test_freeze_bn_holds_statistics_while_scale_and_shift_learn() -> None:
    model = network(freeze_bn=True)
    before = statistics(model)
    model(images()).logits.pow(2).sum().backward()
    assert not changed(before, statistics(model))
    assert model.backbone.bn1.weight.grad is not None
    assert changed(statistics(network()), before) == set()


def test_statistics_drift_where_nothing_is_frozen() -> None:
    model = network()
    before = statistics(model)
    model(images())
    assert changed(before, statistics(model)) == set(before)


def test_a_wrong_name_to_freeze_is_answered_with_the_right_ones() -> None:
    with pytest.raises(UserError, match=r"or parameter 'backbon'; the network holds: backbone, embed.*'backbone'\?"):
        network(freeze=["backbon"])
    with pytest.raises(UserError, match=r"'backbone\.layer9'; backbone holds: conv1, bn1, .*layer4.*"):
        network(freeze=["backbone.layer9"])
    with pytest.raises(UserError, match=r"no module or parameter ''"):
        network(freeze=[""])
    with pytest.raises(UserError, match=r"'classifier\.weigth'; classifier holds: weight, bias\. Did you .*'weight'\?"):
        network(freeze=["classifier.weigth"])
    with pytest.raises(UserError, match=r"classifier\.weight holds no modules and no parameters"):
        network(freeze=["classifier.weight.data"])


def test_a_single_parameter_can_be_frozen_while_its_module_learns() -> None:
    model = network(backbone="test_vit", freeze=["backbone.cls_token", "backbone.pos_embed", "backbone.blocks.0"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert model.backbone.training
    assert not model.backbone.blocks[0].training
    optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=1.0)
    model(images(side=model.backbone.patch_embed.img_size[0])).logits.square().sum().backward()
    optimizer.step()
    moved = changed(before, model.state_dict())
    assert not moved & {"backbone.cls_token", "backbone.pos_embed"}
    assert not [name for name in moved if name.startswith("backbone.blocks.0.")]
    assert {"backbone.norm.weight", "backbone.patch_embed.proj.weight", "classifier.weight"} <= moved
    model.freeze(["backbone.blocks.0"])
    assert model.backbone.cls_token.requires_grad


def test_freezing_everything_is_refused() -> None:
    with pytest.raises(UserError, match="leaves nothing to train"):
        network(freeze=["backbone", "classifier"])


@pytest.mark.parametrize("backbone", ["test_resnet", "resnest14d"])
def test_one_image_cannot_train_batch_norm(backbone: str) -> None:
    model = network(backbone=backbone)
    with pytest.raises(UserError, match=r"at least 2 per process.* or set model\.freeze_bn=true"):
        model(images(1))
    assert model(images(2)).logits.isfinite().all()
    assert model.eval()(images(1)).logits.shape == (1, 7)


def test_one_image_trains_where_batch_norm_is_frozen() -> None:
    assert network(backbone="resnest14d", freeze_bn=True)(images(1)).logits.requires_grad
    assert network(freeze=["backbone"])(images(1)).logits.requires_grad


def test_channels_last_changes_the_memory_and_not_the_scores() -> None:
    plain, last = network(seed=1).eval(), network(seed=1, channels_last=True).eval()
    assert last.backbone.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(plain(images()).logits, last(images()).logits, atol=1e-5)


@pytest.mark.parametrize("name", ["a.b", "", "keys", "train"])
def test_a_head_needs_a_name_that_a_state_dict_can_hold(name: str) -> None:
    with pytest.raises(UserError, match=r"model\.heads: "):
        network(heads={name: {}})


def test_a_classifier_of_no_class_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.num_classes=0"):
        network(num_classes=0)


def test_weights_are_loaded_from_a_file_that_is_named(tmp_path: Path) -> None:
    torch.save(network(seed=9).state_dict(), tmp_path / "nine.pth")
    model = network(seed=1, weights=str(tmp_path / "nine.pth"))
    assert torch.equal(model.backbone.conv1[0].weight, network(seed=9).backbone.conv1[0].weight)
    assert torch.equal(model.classifier.weight, network(seed=1).classifier.weight)
