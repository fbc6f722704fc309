"""Experts that share one classifier. Legend: N rows, X experts, D embedding of one expert, C classes."""

from __future__ import annotations

import torch
from torch import Tensor


def expert_logits(embedding: Tensor, weight: Tensor, bias: Tensor | None, num_experts: int) -> Tensor:
    """The logits of each expert, X W_e x_e + b: (N, X, C). Their mean over experts is the classifier's W x + b.

    embedding: (N, X * D), the experts' embeddings side by side, each divided by X. weight: (C, X * D), a block of D
    columns for each expert. bias: (C,), which the experts share, or None.
    """
    rows = embedding.unflatten(1, (num_experts, -1))
    blocks = weight.unflatten(1, (num_experts, -1))
    logits = num_experts * torch.einsum("ned,ced->nec", rows, blocks)
    return logits if bias is None else logits + bias


def weighed_experts(weight: Tensor, shares: Tensor) -> Tensor:
    """The classifier's weight that gives sum_e s_e (X W_e x_e + b) in place of the mean: block e times X s_e.

    weight: (C, X * D), see `expert_logits`. shares: (X,) s, which sum to 1, so that the bias stays as it is.
    """
    blocks = weight.unflatten(1, (len(shares), -1))
    return (blocks * (len(shares) * shares.to(weight))[:, None]).flatten(1)
