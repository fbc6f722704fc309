"""Backbones by name, with weights from a seed."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.models.backbones import FORMER_NAMES, OWN, backbone_name, build_backbone

# Keys of the files that the ResNeSt authors published.
OFFICIAL_RESNEST_KEYS = {
    "conv1.0.weight",
    "conv1.4.running_mean",
    "conv1.6.weight",
    "bn1.bias",
    "layer1.0.conv2.conv.weight",
    "layer1.0.conv2.bn0.weight",
    "layer1.0.conv2.fc1.bias",
    "layer1.0.conv2.bn1.running_var",
    "layer1.0.conv2.fc2.weight",
    "layer2.0.downsample.1.weight",
    "layer4.2.bn3.weight",
}


def same_state(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def test_the_2020_names_mean_models_that_timm_has_or_we_have() -> None:
    assert all(timm.is_model(name) != (name in OWN) for name in FORMER_NAMES.values())
    assert backbone_name("res32_cifar") == "resnet32_cifar"
    assert backbone_name("res50") == "resnet50"
    assert backbone_name("resnest50") == "resnest50d"
    assert backbone_name("resnet18") == "resnet18"


def test_resnest50_has_the_parameters_and_names_of_the_published_one() -> None:
    backbone, num_features = build_backbone("resnest50", seed=0)
    assert num_features == 2048
    assert sum(parameter.numel() for parameter in backbone.parameters()) == pytest.approx(25.43e6, abs=0.01e6)
    assert set(backbone.state_dict()) >= OFFICIAL_RESNEST_KEYS
    assert not [key for key in backbone.state_dict() if key.startswith("fc.")]


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050"])
def test_the_feature_count_is_that_of_the_pooled_output(name: str) -> None:
    backbone, num_features = build_backbone(name, seed=0)
    assert backbone.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, num_features)


def test_weights_follow_from_the_seed_and_the_global_generator_is_untouched() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = build_backbone("resnet18", seed=1)[0].state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(10)
    assert same_state(first, build_backbone("resnet18", seed=1)[0].state_dict())
    assert not same_state(first, build_backbone("resnet18", seed=2)[0].state_dict())


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    with pytest.raises(UserError, match=r"model\.backbone='ResNet5O'.*Did you mean resnet50 or "):
        build_backbone("ResNet5O", seed=0)
    with pytest.raises(UserError, match="not a timm model nor a 2020 name"):
        build_backbone("", seed=0)
    with pytest.raises(UserError, match=r"resnet18\.no_such_tag.*tag"):
        build_backbone("resnet18.no_such_tag", seed=0)
    with pytest.raises(UserError, match=r"resnet32_cifa'.*Did you mean resnet32_cifar or "):
        build_backbone("resnet32_cifa", seed=0)
