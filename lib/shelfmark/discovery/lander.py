"""Hi-LANDER: the network that says which neighbours are of one class, and how dense a node's surroundings are.

Legend: N nodes, D embedding, d hidden dimensions, K = k - 1 places for neighbours, n nodes asked for.
Source: Xing et al., "Learning Hierarchical Graph Neural Networks for Image Clustering", ICCV 2021.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from shelfmark.core.errors import UserError, choose
from shelfmark.core.rng import derive_seed
from shelfmark.discovery.convolutions import Convolution, GraphAttention, GraphConvolution
from shelfmark.discovery.edges import EdgeClassifier, edge_precision
from shelfmark.discovery.lander_loss import loss
from shelfmark.discovery.neighbours import build_graph
from shelfmark.discovery.original import is_original, options_of_original, renamed_original
from shelfmark.ops.graph import Graph, density_from_labels

__all__ = ["Graph", "Lander", "build_graph", "density_from_labels", "loss"]

LAYERS = ("gat", "gcn")
MOST_LAYERS = 4
# A chunk's edges stay in a CPU's cache; a GPU wants more at a time.
_CHUNK_NODES = {"cpu": 512}
_CHUNK_NODES_ELSEWHERE = 65536


class Lander(nn.Module):
    """For each edge the probabilities of (another class, the same class), and for each node its predicted density.

    dim: D. hidden: d, even. num_layers: 1 to 4, of widths D -> d -> d -> d/2 -> d/2. layer: `gat` or `gcn`. heads: of
    gat. cluster_features: a node's input is [its features, the mean of its cluster's features]. seed: of the first
    weights. Options are kept in `options`, so that `Lander(**model.options)` is the same network.

    convolutions: see their file. neighbour_weight (d/2, width), neighbour_bias: A and a0; node_weight, node_bias:
    B and b0; edges: the classifier of u_j + v_i, where u = A c + a0 of the neighbour and v = B c + b0 of the node.
    `load_state_dict` reads the original's names too.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        num_layers: int = 1,
        layer: str = "gat",
        heads: int = 1,
        cluster_features: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _require(dim, hidden, num_layers, layer, heads)
        self.options: dict[str, Any] = {
            "dim": dim,
            "hidden": hidden,
            "num_layers": num_layers,
            "layer": layer,
            "heads": heads,
            "cluster_features": cluster_features,
        }
        self.cluster_features = cluster_features
        generator = torch.Generator().manual_seed(derive_seed(seed, "lander"))
        half = hidden // 2
        widths = (dim * (1 + cluster_features), hidden, hidden, half, half)[: num_layers + 1]
        self.convolutions = nn.ModuleList(
            GraphAttention(*pair, heads, generator) if layer == "gat" else GraphConvolution(*pair, generator)
            for pair in itertools.pairwise(widths)
        )
        self.neighbour_side = _linear(widths[-1], half, generator)
        self.node_side = _linear(widths[-1], half, generator)
        self.edges = EdgeClassifier(half, generator)
        self.register_load_state_dict_pre_hook(_rename_original)

    @classmethod
    def from_original(cls, state: Mapping[str, Tensor], cluster_features: bool = False) -> Self:
        """The network of an original checkpoint's state dict, its other options read off the shapes.

        Names may stand below `module.`. UserError where names or shapes are not of one.
        """
        try:
            model = cls(**options_of_original(state, cluster_features)).to(next(iter(state.values())).dtype)
            model.load_state_dict(dict(state))
        except (RuntimeError, ValueError, IndexError, AttributeError) as error:
            raise UserError(f"The state dict is not of an original network with these layers: {error}") from None
        return model

    def forward(
        self,
        features: Tensor,
        graph: Graph,
        cluster_features: Tensor | None = None,
        *,
        precision: str = "fp32",
        chunk_nodes: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """Probabilities (N, K, 2), index 1 the same class, and densities (N,): 1/|N(i)| sum_j s_ij (p_ij1 - p_ij0).

        features: (N, D), brought to length 1 here, which leaves those of length 1 as they are. cluster_features:
        (N, D), as they are; where the network has them and None are given, the features stand for them, as at level 0.
        A place without neighbour gets (1, 0); a node without neighbours density 0.
        precision: of the edges' inner layer. `fp32` (float64 for a float64 network); `bf16`, which moved the
        probabilities of a trained network by 0.0002 in the mean and 0.004 at most, in two thirds of the time on a CPU
        with AMX; `auto`, bf16 where the hardware has it and fp32 elsewhere. The last layer and the softmax are float32
        at least. chunk_nodes: computed at a time, 0 for what suits the device; it changes nothing.
        Memory beside the result: N times D and d numbers, and chunks. With a gradient, every chunk is kept.
        """
        inputs = self._inputs(features, cluster_features, graph)
        dtype = edge_precision(precision, inputs)
        size = chunk_nodes or _CHUNK_NODES.get(inputs.device.type, _CHUNK_NODES_ELSEWHERE)
        # At least one chunk, so that a graph without nodes has outputs of the right shape.
        chunks = [slice(start, start + size) for start in range(0, max(1, graph.num_nodes), size)]
        *before, last = self._layers
        for layer in before:
            inputs = _stacked(_convolved(layer, inputs, graph, chunks), graph.num_nodes)
        as_node: list[Tensor] = []
        as_neighbour = _stacked(self._neighbour_sides(last, inputs, graph, chunks, dtype, as_node), graph.num_nodes)
        logits = (
            self.edges(as_neighbour, graph.neighbours[part], side).softmax(dim=2) for part, side in zip(chunks, as_node)
        )
        probabilities = _stacked(logits, graph.num_nodes)
        nowhere = probabilities.new_tensor([1.0, 0.0])
        probabilities = torch.where(graph.valid[:, :, None], probabilities, nowhere)
        return probabilities, predicted_density(probabilities, graph.similarities.to(inputs), graph.valid)

    def seed_logits(
        self, features: Tensor, graph: Graph, nodes: Tensor, cluster_features: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Edge logits (n, K, 2) and densities (n,) of some nodes, equal to those of the whole graph.

        Only what these nodes depend on is computed: them and their neighbours in the last layer, and so on back.
        nodes: (n,) rows. For training, where a step has some thousand seeds.
        """
        reached = [_with_neighbours(graph, nodes)]
        for _ in self._layers:
            reached.insert(0, _with_neighbours(graph, reached[0]))
        chosen = None if cluster_features is None else cluster_features[reached[0]]
        inputs = self._inputs(features[reached[0]], chosen, None)
        place = torch.zeros(graph.num_nodes, dtype=torch.int64, device=nodes.device)
        for layer, rows, needed in zip(self._layers, reached, reached[1:]):
            place[rows] = torch.arange(len(rows), device=nodes.device)
            inputs = layer(
                inputs,
                layer.logits(inputs),
                place[needed],
                place[graph.neighbours[needed]],
                graph.similarities[needed].to(inputs),
                graph.valid[needed],
            )
        place[reached[-1]] = torch.arange(len(reached[-1]), device=nodes.device)
        as_node = self.node_side(inputs.index_select(0, place[nodes]))
        logits = self.edges(self.neighbour_side(inputs), place[graph.neighbours[nodes]], as_node)
        similarities, valid = graph.similarities[nodes].to(inputs), graph.valid[nodes]
        return logits, predicted_density(logits.softmax(dim=2), similarities, valid)

    def _neighbour_sides(
        self,
        layer: Convolution,
        inputs: Tensor,
        graph: Graph,
        chunks: list[slice],
        dtype: torch.dtype,
        as_node: list[Tensor],
    ) -> Iterator[Tensor]:
        """u of each chunk; v, which only its own chunk will need, goes to `as_node`."""
        for mixed in _convolved(layer, inputs, graph, chunks):
            as_node.append(self.node_side(mixed).to(dtype))
            yield self.neighbour_side(mixed).to(dtype)

    @property
    def _layers(self) -> list[Convolution]:
        return cast(list[Convolution], list(self.convolutions))

    def _inputs(self, features: Tensor, cluster_features: Tensor | None, graph: Graph | None) -> Tensor:
        if cluster_features is not None and not self.cluster_features:
            raise UserError(
                "cluster_features were given to a network without them; build it with cluster_features=True."
            )
        if features.ndim != 2 or features.shape[1] != self.options["dim"]:
            raise UserError(
                f"features are {tuple(features.shape)}, but this network was built for dim={self.options['dim']}; "
                "both must come from the same embedder."
            )
        if graph is not None and graph.num_nodes != len(features):
            raise ValueError(f"{len(features)} features for a graph of {graph.num_nodes} nodes")
        unit = _unit(features.to(self.node_side.weight.dtype))
        if not self.cluster_features:
            return unit
        beside = unit if cluster_features is None else cluster_features.to(unit)
        return torch.cat([unit, beside], dim=1)


def predicted_density(probabilities: Tensor, similarities: Tensor, valid: Tensor) -> Tensor:
    """(n,) mean over a node's neighbours of s_ij (p_ij1 - p_ij0). probabilities: (n, K, 2); the others (n, K)."""
    leaning = probabilities[:, :, 1] - probabilities[:, :, 0]
    summed = torch.where(valid, similarities * leaning, 0.0).sum(dim=1)
    return summed / valid.sum(dim=1).clamp_min(1)


def _convolved(layer: Convolution, inputs: Tensor, graph: Graph, chunks: list[slice]) -> Iterator[Tensor]:
    """A layer's outputs (n, O) of each chunk."""
    logits = layer.logits(inputs)
    nodes = torch.arange(graph.num_nodes, device=inputs.device)
    for part in chunks:
        similarities = graph.similarities[part].to(inputs)
        yield layer(inputs, logits, nodes[part], graph.neighbours[part], similarities, graph.valid[part])


def _stacked(parts: Iterator[Tensor], num_rows: int) -> Tensor:
    """The parts one above the other. Without a gradient they are not held a second time."""
    if torch.is_grad_enabled():
        return torch.cat(list(parts))
    first = next(parts)
    whole = first.new_empty(num_rows, *first.shape[1:])
    start = 0
    for part in itertools.chain([first], parts):
        whole[start : start + len(part)] = part
        start += len(part)
    return whole


def _with_neighbours(graph: Graph, nodes: Tensor) -> Tensor:
    """The nodes and all their neighbours, each once, by rising row."""
    is_reached = torch.zeros(graph.num_nodes, dtype=torch.bool, device=nodes.device)
    is_reached[nodes] = True
    is_reached[graph.neighbours[nodes].flatten()] = True
    return is_reached.nonzero()[:, 0]


def _unit(features: Tensor) -> Tensor:
    norms = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return features / norms.masked_fill(norms == 0, 1)


def _linear(width_in: int, width_out: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer with torch's own first weights, drawn from the generator."""
    layer = nn.Linear(width_in, width_out, device="meta").to_empty(device="cpu")
    bound = 1 / math.sqrt(width_in)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


def _rename_original(module: nn.Module, state: dict[str, Any], *_: object) -> None:
    if is_original(state):
        renamed = renamed_original(state)
        state.clear()
        state.update(renamed)


def _require(dim: int, hidden: int, num_layers: int, layer: str, heads: int) -> None:
    choose("layer", layer, LAYERS)
    if not 1 <= num_layers <= MOST_LAYERS:
        raise UserError(f"num_layers={num_layers}: take 1 to {MOST_LAYERS}.")
    if dim < 1 or hidden < 2 or hidden % 2:
        raise UserError(
            f"dim={dim}, hidden={hidden}: dim is at least 1, and hidden an even number, as its half is used."
        )
    if heads < 1 or (heads > 1 and layer == "gcn"):
        raise UserError(f"heads={heads} with layer={layer}: heads are of layer=gat, and at least 1.")
