"""The layers between the embedding and a head's vectors. Legend: D embedding, d dimensions of the head."""

from __future__ import annotations

from torch import nn

from shelfmark.models.options import HeadOptions


def projection(num_features: int, options: HeadOptions) -> nn.Module:
    """A linear map from D = num_features to d = options.dim, or none where that is 0 and so d is D.

    With options.hidden_dim there is a layer with ReLU before it. Source of that layer: Chen et al., "A Simple Framework
    for Contrastive Learning of Visual Representations", ICML 2020; without batch norm as in Chen et al., "Improved
    Baselines with Momentum Contrastive Learning", 2020.
    """
    dim, hidden_dim = options.dim, options.hidden_dim
    if not dim:
        return nn.Identity()
    if not hidden_dim:
        return nn.Linear(num_features, dim)
    return nn.Sequential(nn.Linear(num_features, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, dim))
