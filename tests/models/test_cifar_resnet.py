"""The CIFAR ResNet: sizes, shortcuts, first weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small_networks import small_network
from torch import Tensor, nn
from torch.nn import functional

from shelfmark.core.errors import UserError
from shelfmark.models.backbones import build_backbone
from shelfmark.models.backbones.cifar_resnet import CifarResNet
from shelfmark.models.weights import load_backbone_weights


def test_resnet_32_has_the_paper_s_464154_parameters_with_its_classifier_of_ten_classes() -> None:
    backbone, num_features = build_backbone("resnet32_cifar", seed=0)
    assert num_features == 64
    count = sum(parameter.numel() for parameter in backbone.parameters())
    assert count == 463_504
    assert count + 10 * 64 + 10 == 464_154
    convolutions = [module for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 31
    assert all(module.kernel_size == (3, 3) and module.bias is None for module in convolutions)


# He et al. 2016, table 6: 0.27, 0.46, 0.66 and 0.85 million.
@pytest.mark.parametrize(("blocks", "millions"), [(3, 0.27), (5, 0.46), (7, 0.66), (9, 0.85)])
def test_each_depth_has_the_paper_s_number_of_parameters(blocks: int, millions: float) -> None:
    count = sum(parameter.numel() for parameter in CifarResNet(blocks).parameters()) + 650
    assert round(count / 1e6, 2) == millions


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 31), (17, 9), (64, 48), (1, 1), (5, 2)])
def test_pictures_of_any_size_give_64_features(height: int, width: int) -> None:
    backbone = build_backbone("resnet32_cifar", seed=0)[0].eval()
    sizes: list[tuple[int, int]] = []
    for stage in (backbone.layer1, backbone.layer2, backbone.layer3):
        stage.register_forward_hook(lambda _, __, maps: sizes.append(tuple(maps.shape[2:])))
    features = backbone(torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1)))
    assert features.shape == (2, 64)
    assert bool(torch.isfinite(features).all())
    quarter = (math.ceil(math.ceil(height / 2) / 2), math.ceil(math.ceil(width / 2) / 2))
    assert sizes == [(height, width), (math.ceil(height / 2), math.ceil(width / 2)), quarter]


def test_a_block_without_its_convolutions_is_the_shortcut_of_option_a() -> None:
    backbone = CifarResNet(2).eval()
    block = backbone.layer2[0]
    nn.init.zeros_(block.bn2.weight)
    maps = torch.rand(2, 16, 7, 5, generator=torch.Generator().manual_seed(1))
    expected = torch.zeros(2, 32, 4, 3)
    for row in range(4):
        for column in range(3):
            expected[:, 8:24, row, column] = maps[:, :, 2 * row, 2 * column]
    assert torch.equal(block(maps), expected)
    same = backbone.layer2[1]
    nn.init.zeros_(same.bn2.weight)
    assert torch.equal(same(expected), expected)


@torch.no_grad()
def test_the_whole_pass_is_that_of_a_plain_definition() -> None:
    backbone = build_backbone("resnet32_cifar", seed=3)[0].double().eval()
    generator = torch.Generator().manual_seed(2)
    state = backbone.state_dict()
    for name, tensor in state.items():
        if "running" in name or ".bn" in name or name.startswith("bn1."):
            state[name] = torch.rand(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.dtype) + 0.5
    backbone.load_state_dict(state)
    images = torch.rand(3, 3, 19, 32, generator=generator, dtype=torch.float64)
    np.testing.assert_allclose(backbone(images), plain_pass(backbone.state_dict(), images), rtol=1e-10)


def plain_pass(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """ResNet-32 with the tensors of a state_dict, written out."""

    def normed(maps: Tensor, name: str) -> Tensor:
        mean, variance, weight, bias = (
            state[f"{name}.{part}"][None, :, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (maps - mean) / torch.sqrt(variance + 1e-5) * weight + bias

    maps = normed(functional.conv2d(images, state["conv1.weight"], padding=1), "bn1").clamp(min=0)
    for stage in (1, 2, 3):
        for index in range(5):
            name, stride = f"layer{stage}.{index}", 2 if stage > 1 and index == 0 else 1
            inner = functional.conv2d(maps, state[f"{name}.conv1.weight"], stride=stride, padding=1)
            inner = normed(inner, f"{name}.bn1").clamp(min=0)
            inner = normed(functional.conv2d(inner, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            if stride == 2:
                zeros = torch.zeros_like(inner)[:, : maps.shape[1] // 2]
                maps = torch.cat([zeros, maps[:, :, ::2, ::2], zeros], dim=1)
            maps = (inner + maps).clamp(min=0)
    return maps.mean(dim=(2, 3))


def test_the_first_weights_are_he_s_and_follow_from_the_seed() -> None:
    backbone = build_backbone("res32_cifar", seed=4)[0]
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Conv2d):
            wanted = math.sqrt(2 / (9 * module.in_channels))
            # The deviation of n normal numbers is known to about 1 / sqrt(2 n); five of those are allowed.
            error = 5 / math.sqrt(2 * module.weight.numel())
            assert float(module.weight.detach().std()) == pytest.approx(wanted, rel=error), name
    torch.manual_seed(9)
    before = torch.get_rng_state()
    again, other = (build_backbone("resnet32_cifar", seed=seed)[0].state_dict() for seed in (4, 5))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(tensor, again[name]) for name, tensor in backbone.state_dict().items())
    assert not torch.equal(again["conv1.weight"], other["conv1.weight"])


def test_it_learns_within_a_network_in_either_memory_format() -> None:
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for channels_last in (False, True):
        network = small_network(5, backbone="resnet32_cifar", channels_last=channels_last)
        outputs = network(images)
        assert outputs.embedding.shape == (4, 64)
        outputs.heads["classifier"].square().mean().backward()
        gradients = [parameter.grad for parameter in network.backbone.parameters()]
        assert all(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients)


def test_there_are_no_imagenet_weights_for_it() -> None:
    with pytest.raises(UserError, match=r"holds no file for resnet32_cifar.*its hub has no weights of resnet32_cifar"):
        load_backbone_weights(build_backbone("resnet32_cifar", seed=0)[0], "res32_cifar", "pretrained")
