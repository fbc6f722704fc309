"""GradCache: losses over the whole batch at the memory of a few images.

Legend: N images of this process's batch, D embedding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shelfmark.core.contracts import Outputs
from shelfmark.engine.precision import Precision
from shelfmark.engine.progress import random_state, restore_random_state
from shelfmark.models.network import Network


class CachedNetwork(nn.Module):
    """A network that takes at most `num_images` through its backbone at a time, with the whole batch's gradient.

    The forward pass computes the embedding and keeps no activations. The backward pass starts from the losses' gradient
    at the embedding. It computes one part after the other again and backpropagates through it, so that only one part's
    activations are alive. Both passes draw the same random numbers, and buffers, such as batch norm's statistics,
    change once. Batch norm in training mode normalises each part by itself; otherwise the result equals that of the
    plain pass.
    Source: Gao, Zhang, Han, Callan, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021.
    """

    def __init__(self, network: Network, num_images: int, precision: Precision) -> None:
        super().__init__()
        self.network = network
        self.num_images = num_images
        self.precision = precision

    def forward(self, images: Tensor) -> Outputs:
        if len(images) <= self.num_images:
            return self.network(images)
        # Parts of even size: a last part of one image would have no batch-norm statistics.
        parts = images.tensor_split(math.ceil(len(images) / self.num_images))
        trained = [parameter for parameter in self._embedding_modules.parameters() if parameter.requires_grad]
        if not trained:
            # Without a backward pass nothing is computed again, and no activations are kept.
            return self.network.outputs(torch.cat([self.embed(part) for part in parts]))
        return self.network.outputs(_EmbeddingInParts.apply(self, parts, *trained))

    def embed(self, part: Tensor) -> Tensor:
        """The embedding of some of the batch's images, in the run's precision."""
        with self.precision.autocast():
            return self.network.embed(part)

    def buffers_of_embedding(self) -> list[Tensor]:
        """The buffers that a forward pass changes, such as batch norm's statistics."""
        return list(self._embedding_modules.buffers())

    @property
    def _embedding_modules(self) -> nn.ModuleList:
        return nn.ModuleList([self.network.backbone, self.network.embedding])


class _EmbeddingInParts(torch.autograd.Function):
    """The parameters are inputs, so that autograd, and DistributedDataParallel with it, sees one gradient of each."""

    @staticmethod
    def forward(ctx: Any, cached: CachedNetwork, parts: Sequence[Tensor], *parameters: Tensor) -> Tensor:
        buffers = cached.buffers_of_embedding()
        before = [buffer.clone() for buffer in buffers]
        ctx.cached, ctx.random_states = cached, []
        ctx.save_for_backward(*parts, *parameters)
        ctx.num_parts = len(parts)
        vectors = []
        for part in parts:
            ctx.random_states.append(random_state())
            vectors.append(cached.embed(part))
        for buffer, value in zip(buffers, before):
            buffer.copy_(value)
        return torch.cat(vectors)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        parts, parameters = ctx.saved_tensors[: ctx.num_parts], ctx.saved_tensors[ctx.num_parts :]
        after = random_state()
        totals: list[Tensor | None] = [None] * len(parameters)
        gradients = upstream[0].split([len(part) for part in parts])
        for part, gradient, state in zip(parts, gradients, ctx.random_states):
            restore_random_state(state)
            with torch.enable_grad():
                vectors = ctx.cached.embed(part)
            found = torch.autograd.grad(vectors, parameters, gradient, allow_unused=True)
            totals = [_sum(total, more) for total, more in zip(totals, found)]
        restore_random_state(after)
        return None, None, *totals


def _sum(total: Tensor | None, more: Tensor | None) -> Tensor | None:
    if total is None or more is None:
        return more if total is None else total
    return total + more
