"""Gradient-weighted attention rollout: a case worked by hand, and transformers of every make-up."""

from __future__ import annotations

import pytest
import torch
from small_networks import small_network
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.explain import score_maps
from shelfmark.explain.contrast import Contrast
from shelfmark.explain.last_map import vision_transformer
from shelfmark.explain.rollout import output_weights, readable_attention, rollout

NARROW_BEIT = {"depth": 2, "embed_dim": 48, "num_heads": 3, "img_size": 64}
LABELS, OTHERS = torch.tensor([2, 5]), torch.tensor([4, 1])


def images(side: int = 64) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_two_layers_of_one_head_worked_by_hand() -> None:
    # Tokens: class, patch. What lowers the score counts nothing, so the entries with a gradient below 0 vanish.
    first = torch.tensor([[[[0.5, 0.5], [0.2, 0.8]]]])
    of_first = torch.tensor([[[[1.0, 2.0], [-1.0, 0.5]]]])  # -> [[0.5, 1.0], [0, 0.4]]
    second = torch.tensor([[[[0.25, 0.75], [1.0, 0.0]]]])
    of_second = torch.tensor([[[[2.0, 4.0], [3.0, 9.0]]]])  # -> [[0.5, 3.0], [3.0, 0]]
    # (1 + S2)(1 + S1) - 1: [[1.5, 3], [3, 1]] [[1.5, 1], [0, 1.4]] = [[2.25, 5.7], [4.5, 4.4]]
    expected = torch.tensor([[[1.25, 5.7], [4.5, 3.4]]])
    torch.testing.assert_close(rollout([first, second], [of_first, of_second]), expected)


def test_heads_are_averaged_after_each_was_cut_at_zero() -> None:
    attention = torch.full((1, 2, 2, 2), 0.5)
    gradient = torch.stack([torch.full((2, 2), 4.0), torch.full((2, 2), -4.0)])[None]
    torch.testing.assert_close(rollout([attention], [gradient]), torch.ones(1, 2, 2))


@pytest.mark.parametrize(
    ("options", "of_class_token"),
    [
        ({"backbone": "test_vit"}, True),
        ({"backbone": "test_vit", "backbone_options": {"reg_tokens": 3}}, True),
        ({"backbone": "test_vit", "backbone_options": {"global_pool": "avg"}}, False),
        ({"backbone": "test_vit", "backbone_options": {"global_pool": "avg", "class_token": False}}, False),
        ({"backbone": "test_vit", "backbone_options": {"global_pool": "map"}, "neck": "bn"}, None),
        ({"backbone": "test_vit", "grad_checkpointing": True, "classifier": {"type": "cosine"}}, True),
        ({"backbone": "deit_tiny_distilled_patch16_224", "backbone_options": {"depth": 2}}, None),
        ({"backbone": "eva02_tiny_patch14_224", "backbone_options": {"depth": 2, "img_size": 56}}, None),
        (
            {
                "backbone": "beit_base_patch16_224",
                "backbone_options": NARROW_BEIT,
            },
            None,
        ),
    ],
    ids=str,
)
def test_transformers_of_every_make_up_have_a_relevance_for_each_patch(
    options: dict[str, object], of_class_token: bool | None
) -> None:
    network = small_network(**options).eval()
    side = 56 if "eva02" in str(options) else 64
    found = score_maps(network, images(side), Contrast(LABELS, OTHERS))
    patches = side // network.backbone.patch_embed.patch_size[0]
    assert found.method == "rollout"
    assert found.values.shape == (2, patches, patches)
    assert bool((found.values >= 0).all())
    assert bool((found.values.amax((1, 2)) > 0).all())
    with torch.no_grad():
        logits = network(images(side)).heads["classifier"]
    rows = torch.arange(2)
    torch.testing.assert_close(found.scores, logits[rows, LABELS] - logits[rows, OTHERS], rtol=1e-3, atol=1e-4)
    tokens = found.last.tokens
    assert tokens is not None
    if of_class_token is not None:
        num_prefix = network.backbone.num_prefix_tokens
        weights = _weights(network, images(side), num_prefix, of_class_token)
        torch.testing.assert_close(weights[0], weights[1], rtol=1e-3, atol=1e-5)


def _weights(
    network: torch.nn.Module, pictures: Tensor, num_prefix: int, of_class_token: bool
) -> tuple[Tensor, Tensor]:
    """How much the score listens to each token, and how much it should by the pooling."""
    kept: list[Tensor] = []
    handle = network.backbone.norm.register_forward_hook(lambda _m, _i, output: kept.append(output))
    score = Contrast(LABELS).of(network(pictures).heads["classifier"])
    handle.remove()
    (gradients,) = torch.autograd.grad(score.sum(), kept[-1])
    found = output_weights(gradients)
    expected = torch.zeros_like(found)
    if of_class_token:
        expected[:, 0] = 1
    else:
        expected[:, num_prefix:] = 1 / (found.shape[1] - num_prefix)
    return found, expected


def test_the_attention_that_is_read_is_the_softmax_of_queries_and_keys_and_fused_kernels_come_back() -> None:
    network = small_network(backbone="test_vit").eval()
    transformer = vision_transformer(network.backbone)
    layers = [block.attn for block in transformer.blocks]
    for layer in layers:
        layer.fused_attn = True
    projected: list[Tensor] = []
    handle = layers[0].qkv.register_forward_hook(lambda _m, _i, output: projected.append(output))
    with torch.no_grad(), readable_attention(transformer) as attentions:
        network(images())
    handle.remove()
    rows, tokens, _ = projected[0].shape
    heads = layers[0].num_heads
    query, key, _ = projected[0].reshape(rows, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
    expected = (query @ key.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(dim=-1)
    assert len(attentions) == len(layers)
    torch.testing.assert_close(attentions[0], expected, rtol=1e-4, atol=1e-6)
    assert all(layer.fused_attn for layer in layers)
    assert not any(layer.attn_drop._forward_hooks for layer in layers)


def test_a_transformer_without_readable_attention_is_refused_in_words() -> None:
    network = small_network(backbone="test_vit").eval()
    for block in network.backbone.blocks:
        del block.attn.attn_drop
    with pytest.raises(UserError, match="the attention of VisionTransformer cannot be read. The vit, deit"):
        score_maps(network, images(), Contrast(LABELS))
