"""Gradient-weighted attention rollout: along which attention a transformer's patches reach the score.

Legend: N batch, D dimensions of a token.
Source: Chefer et al., "Generic Attention-model Explainability", ICCV 2021, eq. 5 and 6, for one modality.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from shelfmark.core.errors import UserError


def rollout(attentions: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """(N, tokens, tokens): how much of each token (column) reaches each token of the last block (row) by attention.

    attentions, gradients: (N, heads, tokens, tokens) of each block, the first one first. Heads are averaged where
    attention raises the score. What a token keeps of itself, the identity of the first block, is left out.
    """
    reached: Tensor | None = None
    for attention, gradient in zip(attentions, gradients, strict=True):
        step = (attention * gradient).clamp_min(0).mean(dim=1)
        reached = step if reached is None else reached + step + step @ reached
    if reached is None:
        raise ValueError("a transformer without blocks")
    return reached.detach()


def output_weights(gradients: Tensor) -> Tensor:
    """(N, tokens) from 0 to 1: how much the score listens to each token of the last block, by the size of its gradient.

    gradients: (N, tokens, D). With a class token it alone has weight; where patches are averaged, all have the same.
    """
    sizes = gradients.norm(dim=2)
    return sizes / sizes.sum(dim=1, keepdim=True).clamp_min(1e-20)


@contextmanager
def readable_attention(transformer: Any) -> Iterator[list[Tensor]]:
    """Yields a list that a pass within fills with the attention of each block, (N, heads, tokens, tokens).

    Fused kernels never hold the attention, so they are switched off meanwhile.
    """
    layers: list[Any] = [getattr(block, "attn", None) for block in transformer.blocks]
    if not layers or not all(isinstance(getattr(layer, "attn_drop", None), nn.Module) for layer in layers):
        raise UserError(
            f"explain: the attention of {type(transformer).__name__} cannot be read. The vit, deit, beit and eva02"
            " families can be explained, and backbones with a map, such as ResNet, EfficientNet and ConvNeXt."
        )
    kept: list[Tensor] = []
    fused = [getattr(layer, "fused_attn", False) for layer in layers]
    handles = [layer.attn_drop.register_forward_hook(lambda _m, _i, output: kept.append(output)) for layer in layers]
    try:
        for layer in layers:
            layer.fused_attn = False
        yield kept
    finally:
        for layer, was in zip(layers, fused):
            layer.fused_attn = was
        for handle in handles:
            handle.remove()


def require_square(attentions: Sequence[Tensor], tokens: Tensor) -> None:
    """Raises a UserError unless every block lets each of the tokens (N, tokens, D) look at every one."""
    num = tokens.shape[1]
    if not attentions or any(one.ndim != 4 or one.shape[2:] != (num, num) for one in attentions):
        raise UserError(
            "explain: the blocks of this transformer do not let every patch look at every patch, so attention cannot be"
            " followed through them. The vit, deit, beit and eva02 families can be explained."
        )


def patch_relevance(scores: Tensor, attentions: Sequence[Tensor], tokens: Tensor, num_prefix: int) -> Tensor:
    """(N, patches), none below 0: what each patch sends to the score (N,) by attention. tokens: of the last block."""
    *of_attention, of_tokens = torch.autograd.grad(scores.sum(), [*attentions, tokens])
    reached = rollout([one.detach() for one in attentions], of_attention)
    return torch.einsum("nt,ntp->np", output_weights(of_tokens), reached[:, :, num_prefix:])
