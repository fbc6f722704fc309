"""The two ways in which a node takes in its neighbours. Legend: n nodes, K places, D and d dimensions in and out.

Both get the nodes to compute by their row, so that a chunk, or the seeds of a training step, cost what they are. Sums
over neighbours are taken of the inputs and multiplied with the weights afterwards, which is the same because the
weights are linear, and needs no (n, K, d) tensor.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_NEGATIVE_SLOPE = 0.2


class GraphAttention(nn.Module):
    """ReLU(mean over heads (sum_j alpha_ij W h_j + b1) + b2), alpha the softmax of LeakyReLU_0.2(a_l z_j + a_r z_i).

    z = W h. A node's own features enter through the attention alone; one without neighbours gets the biases.
    weight: (heads, d, D), W. neighbour_attention: (heads, d), a_l. node_attention: (heads, d), a_r. head_bias:
    (heads, d), b1. bias: (d,), b2. Source: Velickovic et al., "Graph Attention Networks", ICLR 2018.
    """

    def __init__(self, width_in: int, width_out: int, heads: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(heads, width_out, width_in))
        self.neighbour_attention = nn.Parameter(torch.empty(heads, width_out))
        self.node_attention = nn.Parameter(torch.empty(heads, width_out))
        self.head_bias = nn.Parameter(torch.zeros(heads, width_out))
        self.bias = nn.Parameter(torch.zeros(width_out))
        gain = nn.init.calculate_gain("relu")
        # As the layer is known: the heads lie side by side in one matrix, and each attention vector is one row.
        _xavier(self.weight, width_in, heads * width_out, gain, generator)
        for attention in (self.neighbour_attention, self.node_attention):
            _xavier(attention, heads * width_out, width_out, gain, generator)

    def logits(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What every node brings into an attention: (N, heads) as a neighbour and (N, heads) as the node itself."""
        both = torch.cat([self.neighbour_attention, self.node_attention])
        vectors = torch.einsum("ro,roi->ri", both, self.weight.repeat(2, 1, 1))
        as_neighbour, as_node = (features @ vectors.T).chunk(2, dim=1)
        return as_neighbour.contiguous(), as_node

    def forward(
        self,
        features: Tensor,
        logits: tuple[Tensor, Tensor],
        nodes: Tensor,
        neighbours: Tensor,
        similarities: Tensor,
        valid: Tensor,
    ) -> Tensor:
        """(n, d). features: (N, D). logits: of all N. nodes: (n,), rows. neighbours, similarities, valid: (n, K)."""
        as_neighbour, as_node = logits
        heads = as_neighbour.shape[1]
        gathered = as_neighbour.index_select(0, neighbours.flatten()).view(*neighbours.shape, heads)
        scores = F.leaky_relu(gathered + as_node.index_select(0, nodes)[:, None], _NEGATIVE_SLOPE)
        attention = masked_softmax(scores, valid[:, :, None])
        total = self.head_bias.mean(dim=0) + self.bias
        for head in range(heads):
            mixed = weighted_sum(features, neighbours, attention[:, :, head])
            total = total + mixed @ (self.weight[head].T / heads)
        return total.relu()


class GraphConvolution(nn.Module):
    """ReLU(W [h_i ; sum_j affine_ij h_j] + b), where affine_ij is the similarity over the sum of the node's.

    weight: (d, 2 D), W. bias: (d,), b. A node without neighbours has zeros in place of the sum.
    Source: Xing et al., "Learning Hierarchical Graph Neural Networks for Image Clustering", ICCV 2021.
    """

    def __init__(self, width_in: int, width_out: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width_out, 2 * width_in))
        self.bias = nn.Parameter(torch.zeros(width_out))
        _uniform(self.weight, 1 / math.sqrt(2 * width_in), generator)

    def logits(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Nothing: this layer's shares follow from the similarities."""
        return features[:, :0], features[:, :0]

    def forward(
        self,
        features: Tensor,
        logits: tuple[Tensor, Tensor],
        nodes: Tensor,
        neighbours: Tensor,
        similarities: Tensor,
        valid: Tensor,
    ) -> Tensor:
        """(n, d). features: (N, D). nodes: (n,), rows. neighbours, similarities, valid: (n, K)."""
        weights = torch.where(valid, similarities, 0.0)
        total = weights.sum(dim=1, keepdim=True)
        weights = weights / total.masked_fill(total == 0, 1)
        mixed = weighted_sum(features, neighbours, weights)
        own = features.index_select(0, nodes)
        return F.linear(torch.cat([own, mixed], dim=1), self.weight, self.bias).relu()


Convolution = GraphAttention | GraphConvolution


def masked_softmax(scores: Tensor, valid: Tensor) -> Tensor:
    """The softmax over dimension 1 of what is valid, 0 elsewhere; all 0 where nothing is."""
    lowest = torch.finfo(scores.dtype).min
    return torch.where(valid, scores.masked_fill(~valid, lowest).softmax(dim=1), 0.0)


def weighted_sum(features: Tensor, neighbours: Tensor, weights: Tensor) -> Tensor:
    """(n, D) sum over j of weights_ij features_j, without the (n, K, D) tensor of what is summed."""
    return F.embedding_bag(neighbours, features, mode="sum", per_sample_weights=weights)


def _xavier(weight: Tensor, fan_in: int, fan_out: int, gain: float, generator: torch.Generator) -> None:
    with torch.no_grad():
        weight.normal_(0, gain * math.sqrt(2 / (fan_in + fan_out)), generator=generator)


def _uniform(weight: Tensor, bound: float, generator: torch.Generator) -> None:
    with torch.no_grad():
        weight.uniform_(-bound, bound, generator=generator)
