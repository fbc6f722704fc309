"""What lies between the embedding and a head's vectors. Legend: D embedding, d dimensions of the head."""

from __future__ import annotations

from torch import nn


def projection(num_features: int, dim: int, hidden_dim: int = 0) -> nn.Module:
    """A linear map from D = num_features to d = dim, or none where dim is 0 and so d is D.

    hidden_dim: width of a layer with ReLU before it, 0 is none. Source of that layer: Chen et al., "A Simple Framework
    for Contrastive Learning of Visual Representations", ICML 2020; without batch norm as in Chen et al., "Improved
    Baselines with Momentum Contrastive Learning", 2020.
    """
    if not dim:
        assert not hidden_dim, "a hidden layer needs one behind it"
        return nn.Identity()
    if not hidden_dim:
        return nn.Linear(num_features, dim)
    return nn.Sequential(nn.Linear(num_features, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, dim))
