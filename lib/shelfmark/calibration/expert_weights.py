"""Weights of experts from unlabelled images. Legend: N images, X experts, C classes, D embedding of one expert."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from shelfmark.calibration.calibrated import Linear, blocks, copied
from shelfmark.core.errors import UserError
from shelfmark.core.types import Array
from shelfmark.ops.experts import expert_logits, weighed_experts
from shelfmark.ops.similarity import compute_dtype


class ExpertWeights(Linear):
    """Logits sum_e w_e z_e in place of the experts' mean, with the w for which two views of an image agree best.

    w = softmax(v), so that they are positive and sum to 1. From v = 0, Adam takes `num_steps` steps on all images at
    once towards the largest `stability`; the best w so far are kept. It stops before a weight falls below `smallest`,
    because the objective alone is often best with a single expert. Nothing is drawn at random. The logits of one block
    of images are in memory at a time.

    Learned: weights_ (X,) float64; stability_ with weights_, equal_stability_ with equal weights; weight_
    (C, X * D) and bias_ (C,) or None, of the classifier on the same embedding.
    Source: Zhang et al., "Self-Supervised Aggregation of Diverse Experts for Test-Agnostic Long-Tailed Recognition",
    NeurIPS 2022, section 4.2.
    """

    weights_: Tensor
    stability_: float
    equal_stability_: float
    weight_: Tensor

    def __init__(self, num_steps: int = 30, lr: float = 0.1, smallest: float = 0.05) -> None:
        self.num_steps = num_steps
        self.lr = lr
        self.smallest = smallest

    def fit(self, first: Array, second: Array, weight: Tensor, bias: Tensor | None, num_experts: int) -> Self:
        """first, second: (N, X * D), the embeddings of two views of the same images. weight: (C, X * D), bias: (C,) of
        the classifier. Computed on the weight's device.

        Raises UserError where there is no image, or features or weights are not finite.
        """
        if first.shape != second.shape or first.shape[1:] != weight.shape[1:]:
            raise ValueError(f"views {first.shape} and {second.shape} do not fit a weight {tuple(weight.shape)}")
        if not len(first):
            raise UserError("there is no image to weigh the experts by.")
        values = torch.zeros(num_experts, dtype=torch.float64, device=weight.device, requires_grad=True)
        optimizer = torch.optim.Adam([values], lr=self.lr, maximize=True)
        visited = []
        for _ in range(self.num_steps + 1):
            shares = values.detach().softmax(0)
            if float(shares.min()) < self.smallest:
                break
            optimizer.zero_grad()
            visited.append((stability(first, second, weight, bias, values), shares))
            optimizer.step()
        self.equal_stability_ = visited[0][0]
        self.stability_, self.weights_ = max(visited, key=lambda pair: pair[0])
        self.weight_ = weighed_experts(weight.detach(), self.weights_)
        self.bias_ = copied(bias)
        return self


def stability(first: Array, second: Array, weight: Tensor, bias: Tensor | None, values: Tensor) -> float:
    """1/N sum_n cos(p_n, q_n), with p and q the softmax of sum_e w_e z_e for the two views and w = softmax(values).

    values: (X,); if it requires a gradient, the gradient is added to values.grad. Other arguments: `ExpertWeights.fit`.
    """
    dtype, num_experts = compute_dtype(weight), len(values)
    weight, bias = weight.detach().to(dtype), None if bias is None else bias.detach().to(dtype)
    total = 0.0
    for block in blocks(len(first), 2 * num_experts * len(weight)):
        with torch.set_grad_enabled(values.requires_grad):
            shares = values.softmax(0).to(dtype)
            views = (torch.as_tensor(one[block]).to(weight.device, dtype) for one in (first, second))
            p, q = (_probabilities(expert_logits(view, weight, bias, num_experts), shares) for view in views)
            part = torch.cosine_similarity(p, q, dim=1).double().sum() / len(first)
        if values.requires_grad:
            part.backward()
        total += float(part.detach())
    if not total < torch.inf:
        raise UserError("weights of experts: features or weights hold NaN or infinity. Take an earlier checkpoint.")
    return total


def _probabilities(logits: Tensor, shares: Tensor) -> Tensor:
    """(N, X, C) and (X,) to (N, C)."""
    return torch.einsum("nec,e->nc", logits, shares).softmax(1)
