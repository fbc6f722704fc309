"""The exact decomposition of a logit over positions, where features are averaged and all behind them is linear.

Legend: N batch, C channels, H x W pixels of the map, F features, D embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shelfmark.explain.contrast import Contrast
from shelfmark.explain.last_map import LastMap
from shelfmark.models.backbones.experts import ExpertEmbedding
from shelfmark.models.neck import BatchNormNeck
from shelfmark.models.network import Network


def decomposes(network: Network, last: LastMap) -> bool:
    """Whether the logits are a sum over the positions of the map, and a constant."""
    return last.is_averaged and is_affine(network.embedding)


def is_affine(embedding: nn.Module) -> bool:
    """Whether a part between features and classifier is linear but for a shift: projection, batch norm in evaluation
    mode, experts' layers, and sequences of them."""
    if isinstance(embedding, nn.Sequential):
        return all(map(is_affine, embedding))
    if isinstance(embedding, ExpertEmbedding):
        return all(map(is_affine, embedding.layers))
    if isinstance(embedding, BatchNormNeck):
        return not embedding.training
    return isinstance(embedding, nn.Linear | nn.Identity)


def decomposed(network: Network, last: LastMap, contrast: Contrast) -> tuple[Tensor, Tensor]:
    """(N, H, W) what each position adds, and (N,) what no position adds: together the contrast of the logits.

    The constant holds biases and the shift of a neck; of a contrast, their difference.
    """
    with torch.enable_grad():
        features = last.features.detach().requires_grad_()
        embedding = network.embedding_of(features)
        direction, constant = contrast.direction(network.classifier, embedding.detach())
        (weights,) = torch.autograd.grad((embedding * direction.detach()).sum(), features)
    with torch.no_grad():
        shift = network.embedding_of(torch.zeros_like(last.features))
        constants = constant + (shift * direction).sum(dim=1)
        values = torch.einsum("nchw,nc->nhw", last.maps.detach(), weights) / last.maps[0, 0].numel()
    return values, constants.detach()
