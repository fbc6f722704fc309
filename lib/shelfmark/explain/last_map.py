"""The last map of a network's backbone: what it knows of each position, before positions are pooled.

Legend: N batch, C channels, H x W pixels of the map, F features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import AttentionPool2d, RotAttentionPool2d, SelectAdaptivePool2d
from torch import Tensor, nn

from shelfmark.core.errors import UserError
from shelfmark.models.backbones.pooling import GlobalPooling, pools_channels_first
from shelfmark.models.network import Network


@dataclass(frozen=True, eq=False)
class LastMap:
    """parts: the map (N, C, H, W), or one for each expert, as the pass used them. features: (N, F) of the backbone.

    tokens: (N, tokens, C) of a transformer, prefix included.
    """

    parts: tuple[Tensor, ...]
    features: Tensor
    tokens: Tensor | None = None

    @property
    def maps(self) -> Tensor:
        """(N, C, H, W); experts' maps stand side by side in the channels, as their features do."""
        return self.parts[0] if len(self.parts) == 1 else torch.cat(self.parts, dim=1)

    @property
    def is_averaged(self) -> bool:
        """Whether the features are the mean of the map over its positions, for these very pictures."""
        maps = self.maps
        if self.tokens is not None or maps.shape[1] != self.features.shape[1]:
            return False
        mean = maps.mean(dim=(2, 3))
        return torch.allclose(mean, self.features, rtol=1e-4, atol=1e-5 * float(self.features.abs().amax() + 1e-12))


def last_map(network: Network, images: Tensor) -> LastMap:
    """The map of images (N, 3, side, side), with a gradient where torch records one.

    UserError: the backbone has neither a map of positions nor tokens of patches.
    """
    transformer = vision_transformer(network.backbone)
    with _recomputing_nothing(network):
        return _of_convolutions(network, images) if transformer is None else _of_tokens(network, transformer, images)


def vision_transformer(backbone: nn.Module) -> Any | None:
    """timm's plain transformer in the backbone: one width and one number of tokens through all blocks."""
    for module in backbone.modules():
        if all(hasattr(module, name) for name in ("blocks", "num_prefix_tokens", "patch_embed", "norm")):
            return module
    return None


def _of_tokens(network: Network, transformer: Any, images: Tensor) -> LastMap:
    kept: list[Tensor] = []
    handle = transformer.norm.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    try:
        features = network.features(images)
    finally:
        handle.remove()
    tokens = kept[-1]
    maps = as_grid(tokens[:, transformer.num_prefix_tokens :].transpose(1, 2))
    return LastMap((maps,), features, tokens)


def as_grid(patches: Tensor) -> Tensor:
    """(..., patches) of a square input as (..., H, W)."""
    side = math.isqrt(patches.shape[-1])
    if side * side != patches.shape[-1]:
        raise UserError(
            f"explain: this transformer leaves {patches.shape[-1]} patches, which are no square grid, so they cannot be"
            " put back on the picture."
        )
    return patches.unflatten(-1, (side, side))


def _of_convolutions(network: Network, images: Tensor) -> LastMap:
    pools = [
        module
        for place, module in network.backbone.named_modules()
        if isinstance(module, AttentionPool2d | RotAttentionPool2d)
        or (place.rpartition(".")[2] == "global_pool" and isinstance(module, SelectAdaptivePool2d | GlobalPooling))
    ]
    pooled: list[Tensor] = []
    latest: list[Tensor] = []

    def before_pool(module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        # What is kept must be what goes on, or it would have no gradient.
        is_first = pools_channels_first(module)
        pooled.append(inputs[0] if is_first else inputs[0].permute(0, 3, 1, 2))
        return pooled[-1] if is_first else pooled[-1].permute(0, 2, 3, 1)

    def behind(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if _has_positions(output):
            latest[:] = [output]
        elif _are_tokens(output):
            # What comes behind is no map: where the positions lie among tokens is not known here.
            latest.clear()

    handles = [pool.register_forward_pre_hook(before_pool) for pool in pools]
    handles += [module.register_forward_hook(behind) for module in network.backbone.modules()]
    try:
        features = network.features(images)
    finally:
        for handle in handles:
            handle.remove()
    # Some networks pool a map of one position; what they had before still knows where things are.
    if not pooled or len({one.shape[2:] for one in pooled}) > 1 or not _has_positions(pooled[0]):
        pooled = latest or pooled[:1]
    if not pooled:
        raise UserError(
            f"explain: {type(network.backbone).__name__} has no map of positions before its pooling. Backbones with a"
            " map are ResNet, EfficientNet, ConvNeXt and others; of transformers, the vit and deit families."
        )
    return LastMap(tuple(pooled), features)


def _has_positions(output: Any) -> bool:
    return isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1


def _are_tokens(output: Any) -> bool:
    return isinstance(output, Tensor) and output.ndim == 3


@contextmanager
def _recomputing_nothing(network: Network) -> Iterator[None]:
    """Gradient checkpointing is off: what is computed again would be another tensor than the one that was kept."""
    switched = [one for one in network.modules() if getattr(one, "grad_checkpointing", False) is True]
    switches: list[Any] = list(switched)
    for one in switches:
        one.grad_checkpointing = False
    try:
        yield
    finally:
        for one in switches:
            one.grad_checkpointing = True
