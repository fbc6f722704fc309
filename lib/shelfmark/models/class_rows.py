"""Tensors with a row for each class, moved to other class numbers. Legend: C classes, D embedding, J proxies."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from shelfmark.models.heads import LinearClassifier, ProxyHead
from shelfmark.models.heads.classifier import CLASS_FACTORS


def with_rows_moved(network: nn.Module, state: Mapping[str, Tensor], sources: np.ndarray) -> dict[str, Tensor]:
    """A checkpoint's `state` with the classes of `network`: each known class has its row, a new one the fresh row.

    sources: (C,) int64, the number of each class in the checkpoint, -1 for a new one. The rows are those of classifiers
    and of proxies. A tensor whose other sizes differ too is left as it is.
    """
    own, moved = network.state_dict(), dict(state)
    is_known = torch.from_numpy(sources >= 0)
    known = torch.from_numpy(sources[sources >= 0])
    for name in _tensors_of_classes(network):
        if name not in state:
            continue
        fresh = torch.ones(len(sources)) if name.endswith(f".{CLASS_FACTORS}") else own.get(name)
        if fresh is None or fresh.shape[1:] != state[name].shape[1:]:
            continue
        fresh = fresh.detach().cpu().to(state[name], copy=True)
        fresh[is_known] = state[name][known]
        moved[name] = fresh
    return moved


def _tensors_of_classes(network: nn.Module) -> list[str]:
    names = ["classifier.weight", "classifier.bias"]
    for name, module in network.named_modules():
        if isinstance(module, LinearClassifier):
            names.append(f"{name}.{CLASS_FACTORS}")
        if isinstance(module, ProxyHead):
            names.append(f"{name}.weight")
    return names
