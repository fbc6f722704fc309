"""Pooling, last stride, neck, frozen batch norms and other changes of a network, beside plain definitions."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
import timm
import torch
import torchvision
from small_networks import small_network as network
from torch import Tensor, nn

from shelfmark.core.errors import UserError
from shelfmark.models.backbones import build_backbone, narrow_options
from shelfmark.models.backbones.layers import layers_below_the_top
from shelfmark.models.backbones.shape import shaped_backbone
from shelfmark.models.options import ModelOptions

SMALL = {"embed_dim": 24, "num_heads": 2}


GEM = {"name": "gem"}
ADAPTERS = {"rank": 4, "alpha": 8.0, "modules": ["qkv"]}


def images(count: int = 4, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(3))


def built(name: str, **options: Any) -> nn.Module:
    return shaped_backbone(ModelOptions(backbone=name, **options), seed=0)[0].eval()


# --- pooling ---


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv3_small_050", "convnext_atto", "resnet32_cifar"])
def test_the_average_in_place_of_a_backbone_s_own_average_changes_nothing(name: str) -> None:
    plain, _ = build_backbone(name, seed=0)
    replaced = built(name, pooling={"name": "avg"})
    with torch.no_grad():
        assert torch.allclose(replaced(images()), plain.eval()(images()), atol=1e-6)
    assert replaced.state_dict().keys() == plain.state_dict().keys()


def test_gem_and_maximum_pool_the_last_map() -> None:
    plain, num_features = build_backbone("test_resnet", seed=0)
    with torch.no_grad():
        last = plain.eval().forward_features(images(side=64))
        gem = built("test_resnet", pooling={**GEM, "p": 3.0})(images(side=64))
        largest = built("test_resnet", pooling={"name": "max"})(images(side=64))
    assert gem.shape == (4, num_features)
    assert torch.allclose(gem, last.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3), atol=1e-5)
    assert torch.allclose(largest, last.amax((2, 3)))


def test_a_power_that_learns_stands_in_the_checkpoint_and_gets_a_gradient() -> None:
    model = network(pooling={**GEM, "p": 2.5, "trainable": True})
    power = model.get_parameter("backbone.global_pool.p")
    assert power.tolist() == [2.5]
    model(images(side=96)).logits.square().sum().backward()
    assert power.grad is not None
    assert power.grad.item() != 0
    assert "backbone.global_pool.p" not in network(pooling=GEM).state_dict()


@pytest.mark.parametrize(
    ("name", "options"),
    [("test_vit", {}), ("swin_tiny_patch4_window7_224", {"embed_dim": 12, "depths": (1, 1), "num_heads": (1, 1)})],
)
def test_a_backbone_without_a_map_of_channels_is_refused_with_what_it_has(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(
        UserError, match=r"model\.pooling\.name=gem: .*model\.backbone_options\.global_pool=token or avg"
    ):
        built(name, pooling=GEM, backbone_options=options)


# --- last stride ---


def test_the_last_stage_of_stride_one_is_the_published_resnet_s_with_its_strides_edited() -> None:
    ours = built("resnet18", last_stride=1)
    theirs = torchvision.models.resnet18(weights=None)
    theirs.layer4[0].conv1.stride = theirs.layer4[0].downsample[0].stride = (1, 1)
    theirs.fc = nn.Identity()
    theirs.load_state_dict(ours.state_dict())
    with torch.no_grad():
        assert ours.forward_features(images(side=64)).shape == (4, 512, 4, 4)
        assert torch.allclose(ours(images(side=64)), theirs.eval()(images(side=64)), atol=1e-5)


def test_bottlenecks_and_average_pools_lose_their_stride_too_and_no_other_stage_does() -> None:
    for name in ("resnest14d", "resnet26d"):
        plain, _ = build_backbone(name, seed=0)
        finer = built(name, last_stride=1)
        with torch.no_grad():
            assert plain.eval().forward_features(images(1, 64)).shape[2:] == (2, 2)
            assert finer.forward_features(images(1, 64)).shape[2:] == (4, 4)
        assert finer.state_dict().keys() == plain.state_dict().keys()
        strides = {name: module.stride for name, module in plain.named_modules() if isinstance(module, nn.Conv2d)}
        for place, module in finer.named_modules():
            if isinstance(module, nn.Conv2d):
                assert module.dilation == (1, 1)
                assert module.stride == ((1, 1) if place.startswith("layer4") else strides[place])


def test_a_backbone_without_such_a_stage_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.last_stride=1: VisionTransformer has no last stage `layer4`"):
        built("test_vit", last_stride=1)


# --- neck ---


def test_the_embedding_is_what_the_neck_makes_of_the_features() -> None:
    model = network(neck="bn", classifier={"bias": False})
    outputs = model(images(8))
    assert torch.allclose(outputs.embedding.mean(0), torch.zeros(outputs.embedding.shape[1]), atol=1e-5)
    plain = network()
    features = plain(images(8)).embedding
    expected = (features - features.mean(0)) / (features.var(0, unbiased=False) + 1e-5).sqrt()
    assert torch.allclose(outputs.embedding, expected, atol=1e-4)
    assert torch.allclose(outputs.logits, outputs.embedding @ model.classifier.weight.T, atol=1e-5)


def test_the_neck_s_scale_learns_and_its_shift_stays_at_zero_after_freezing_and_thawing() -> None:
    model = network(neck="bn", embedding_dim=16)
    model.freeze(["embedding"])
    model.freeze([])
    model(images(8)).logits.square().sum().backward()
    neck = model.get_submodule("embedding.neck")
    assert neck.weight.grad is not None
    assert neck.weight.tolist() == [1.0] * 16
    assert (neck.bias.requires_grad, neck.bias.tolist()) == (False, [0.0] * 16)


def test_the_neck_is_computed_in_float32_under_autocast() -> None:
    model = network(neck="bn")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.embed(images()).dtype == torch.float32


def test_experts_have_no_neck() -> None:
    with pytest.raises(UserError, match=r"model\.neck=bn .*model\.experts=1"):
        network(neck="bn", experts=2)


# --- frozen batch norms ---


@pytest.mark.parametrize("affine", [False, True])
def test_frozen_batch_norms_keep_statistics_and_if_asked_their_scale_while_the_neck_learns_both(affine: bool) -> None:
    model = network(neck="bn", freeze_bn=True, freeze_bn_affine=affine)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD((one for one in model.parameters() if one.requires_grad), lr=0.1)
    for _ in range(2):
        model.train()
        optimizer.zero_grad()
        model(images(8)).logits.square().sum().backward()
        optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {"embedding.neck.running_mean", "embedding.neck.running_var", "embedding.neck.weight"} <= changed
    assert "backbone.conv1.0.weight" in changed
    assert "embedding.neck.bias" not in changed
    assert not [name for name in changed if name.startswith("backbone.") and "running" in name]
    affine_names = {
        f"backbone.{place}.{part}"
        for place, module in model.backbone.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for part in ("weight", "bias")
    }
    assert bool(affine_names & changed) != affine


# --- options of timm, transformers ---


def test_a_transformer_takes_other_sizes_and_options_and_keeps_the_names_of_its_weights() -> None:
    backbone, num_features = build_backbone("vit_base_patch16_224", 0, options={**SMALL, "drop_path_rate": 0.1})
    assert num_features == 24
    assert backbone.eval()(images(2, 64)).shape == (2, 24)
    assert backbone.eval()(images(2, 224)).shape == (2, 24)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in backbone.blocks]
    assert rates[-1] == pytest.approx(0.1)
    plain = timm.create_model("vit_base_patch16_224", num_classes=0, **SMALL)
    assert backbone.state_dict().keys() == plain.state_dict().keys()
    assert backbone.pos_embed.shape == plain.pos_embed.shape
    token, mean = (build_backbone("test_vit", 0, options={"global_pool": one})[0].eval() for one in ("token", "avg"))
    assert not torch.equal(token(images(2, 160)), mean(images(2, 160)))


def test_options_that_a_backbone_has_not_are_refused() -> None:
    with pytest.raises(UserError, match=r"model\.backbone_options=\{'drop_pth': 1\}: resnet18 cannot be built"):
        build_backbone("resnet18", 0, options={"drop_pth": 1})
    with pytest.raises(UserError, match=r"model\.backbone_options=.*resnet32_cifar cannot be built"):
        build_backbone("resnet32_cifar", 0, options={"drop_path_rate": 0.1})


def test_transformers_and_plain_resnets_are_made_narrow_with_all_their_blocks() -> None:
    others = ("resnet32_cifar", "resnext50_32x4d", "resnest50d_4s2x40d", "resnet51q", "mobilenetv3_small_050")
    assert all(narrow_options(name) == {} for name in others)
    for name in ("resnest50", "resnet18.a1_in1k"):
        backbone, num_features = build_backbone(name, 0, options=narrow_options(name))
        assert sum(parameter.numel() for parameter in backbone.parameters()) < 2e6
        plain, plain_features = build_backbone(name, 0)
        narrow_blocks, plain_blocks = (
            {place: type(part) for place, part in one.named_modules() if re.fullmatch(r"layer\d\.\d+", place)}
            for one in (backbone, plain)
        )
        assert narrow_blocks == plain_blocks
        assert backbone.eval()(images(1, 64)).shape == (1, num_features) == (1, plain_features // 4)
    for name in ("vit_base_patch16_siglip_224", "vit_base_patch16_dinov3"):
        backbone, num_features = build_backbone(name, 0, options=narrow_options(name))
        assert sum(parameter.numel() for parameter in backbone.parameters()) < 2e6
        assert (backbone.eval()(images(1, 64)).shape, len(backbone.blocks)) == ((1, num_features), 12)


def test_layers_count_from_the_last_norm_down_to_the_stem() -> None:
    below = layers_below_the_top(build_backbone("vit_base_patch16_224", 0, options=SMALL)[0])
    assert below["norm.weight"] == 1
    assert [below[f"blocks.{number}.attn.qkv.weight"] for number in (11, 10, 0)] == [1, 2, 12]
    assert below["cls_token"] == below["pos_embed"] == below["patch_embed.proj.weight"] == 13
    siglip = layers_below_the_top(build_backbone("vit_base_patch16_siglip_224", 0, options=SMALL)[0])
    assert (siglip["attn_pool.q.weight"], siglip["blocks.11.attn.qkv.weight"]) == (0, 1)
    resnet = layers_below_the_top(build_backbone("resnet18", 0)[0])
    assert (resnet["layer4.1.conv2.weight"], resnet["layer4.0.conv1.weight"], resnet["conv1.weight"]) == (1, 2, 9)
    with pytest.raises(UserError, match=r"optim\.layer_decay: .*CifarResNet"):
        layers_below_the_top(build_backbone("resnet32_cifar", 0)[0])


# --- adapters ---


def test_with_adapters_nothing_else_of_the_backbone_learns_and_the_head_does() -> None:
    options = {"backbone": "test_vit", "adapters": ADAPTERS}
    model, again = network(**options), network(**options)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    blocks = len(model.backbone.blocks)
    adapters = {f"backbone.blocks.{number}.attn.qkv.lora_{part}" for number in range(blocks) for part in "AB"}
    assert {name.replace(".default.weight", "") for name in learning} == adapters | {
        "classifier.weight",
        "classifier.bias",
    }
    assert all(torch.equal(one, two) for one, two in zip(model.state_dict().values(), again.state_dict().values()))
    layers = layers_below_the_top(model.backbone)
    assert len({layers[name.removeprefix("backbone.")] for name in learning if "lora" in name}) == blocks
    with pytest.raises(UserError, match=r"model\.adapters\.modules=\['query'\].*fc1, fc2, proj, qkv"):
        network(backbone="test_vit", adapters={**ADAPTERS, "modules": ["query"]})


def test_an_adapter_adds_its_low_rank_product_and_begins_as_nothing() -> None:
    plain, model = network(backbone="test_vit"), network(backbone="test_vit", adapters=ADAPTERS)
    shown = images()
    torch.testing.assert_close(model.eval()(shown).embedding, plain.eval()(shown).embedding)
    layer = model.get_submodule("backbone.blocks.0.attn.qkv")
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert down.shape[0] == up.shape[1] == 4
    with torch.no_grad():
        up.fill_(0.5)
    x = torch.randn(3, down.shape[1], generator=torch.Generator().manual_seed(4))
    expected = layer.base_layer(x) + 8.0 / 4 * x @ down.T @ up.T
    torch.testing.assert_close(layer(x), expected)


def test_without_peft_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"pip install peft.*model\.adapters\.rank=0"):
        network(backbone="test_vit", adapters=ADAPTERS)
