"""The identity of weights, and of the part of a network that makes the embedding."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

_MAKES_THE_EMBEDDING = ("backbone.", "embedding.")


def embedding_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of the tensors of backbone, embedding layer and neck in a network's state_dict.

    Networks that differ in the classifier or in other heads alone have the same.
    """
    return state_hash({name: tensor for name, tensor in state.items() if name.startswith(_MAKES_THE_EMBEDDING)})


def state_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of the tensors of a state_dict and their names, whatever their order."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
