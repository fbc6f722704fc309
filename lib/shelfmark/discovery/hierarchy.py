"""Clusters by levels: the peaks of one level are the nodes of the next. Legend: N images, D embedding, K neighbours.

Source: Xing et al., "Learning Hierarchical Graph Neural Networks for Image Clustering", ICCV 2021, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shelfmark.core.errors import UserError, choose
from shelfmark.core.types import Array
from shelfmark.discovery.decode import decode
from shelfmark.discovery.lander import build_graph
from shelfmark.discovery.means import means_by_label
from shelfmark.ops.graph import Graph
from shelfmark.ops.similarity import compute_dtype

MODES = ("prob", "sim")


class LinkPredictor(Protocol):
    """What `lander.Lander` is: called as below, it gives (same_probability (n, K, 2), density (n,))."""

    def __call__(
        self, features: Tensor, graph: Graph, cluster_features: Tensor | None = None
    ) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True, eq=False)
class LevelRecord:
    """One level. num_nodes: n. num_edges: the nodes that found a parent, n less the peaks.

    peaks: (peaks,) int64 rows of the images that found none, rising. density: (n,) of the nodes, in their order.
    """

    num_nodes: int
    num_edges: int
    peaks: Tensor
    density: Tensor


@dataclass(frozen=True, eq=False)
class Clustering:
    """labels: (N,) int64 cluster of each image, 0 upwards. record: one a level. density: (N,), that of level 0.

    `labels, record = cluster(...)` works too.
    """

    labels: Tensor
    record: list[LevelRecord]
    density: Tensor

    def __iter__(self) -> Iterator[Tensor | list[LevelRecord]]:
        return iter((self.labels, self.record))


def cluster(
    features: Array,
    model: LinkPredictor | None,
    k: int,
    tau: float,
    levels: int = 10,
    early_stop: bool = True,
    mode: str = "prob",
    engine: str = "auto",
    graph: Graph | None = None,
) -> Clustering:
    """The clusters of all images, and what each level did. On the model's device; the result is where `features` are.

    A level: the graph of the nodes' k nearest (the node itself counts as one), the model's densities, `decode`. The
    next level's nodes are the peaks, with their own features; a model with `cluster_features` also gets the mean of
    all images in each peak's cluster. Labels number the trees of all levels' links together, by the image at the root.

    The links of a level are always kept. The level is the last if, asked in this order,
    - it is the last of `levels`;
    - it added no link;
    - early_stop, and links of the level before / links of this level < k - 1. This is not asked of the first level;
    - at most k peaks remain.
    So a pool of k images or fewer gets one level, with as many neighbours as there are.

    features: (N, D), finite; they are normalised. model: a `Lander`, or None: then the density is the mean cosine of
    the neighbours, and mode must be `sim`. mode: `prob`, distances are the model's probabilities of different classes;
    `sim`, they are 1 - cosine. engine: of `build_graph`. graph: what `build_graph(features, k)` gave, where it is there
    already; the later levels make their own.
    """
    _require(k, levels, mode, model)
    given = torch.as_tensor(features)
    if given.ndim != 2:
        raise ValueError(f"features are {tuple(given.shape)}; expected (N, D)")
    if graph is not None and graph.neighbours.shape != (len(given), k - 1):
        places = tuple(graph.neighbours.shape)
        raise ValueError(f"the graph has (nodes, neighbours) = {places}; {len(given)} images and k={k} need k - 1 each")
    everyone = F.normalize(_as_model(given, model), dim=1)
    nodes = torch.arange(len(everyone), device=everyone.device)
    labels, record = nodes, list[LevelRecord]()
    while len(nodes):
        # A million images are not copied where they are all nodes.
        own = everyone[nodes] if record else everyone
        level = build_graph(own, k, engine=engine) if graph is None or record else _like(graph, everyone)
        means = None
        if getattr(model, "cluster_features", False):
            means = means_by_label(everyone, labels, len(nodes)) if record else everyone
        distance, density = _distance_and_density(model, mode, level, own, means)
        merged, peaks, _ = decode(level, distance, density, tau)
        # The nodes are the peaks of the level before, in the order of their labels.
        labels, nodes = merged[labels], nodes[peaks]
        num_edges = len(merged) - len(nodes)
        record.append(LevelRecord(len(merged), num_edges, nodes.to(given.device), density.to(given.device)))
        if len(record) == levels or _is_over(record, k, early_stop):
            break
    density = record[0].density if record else everyone.new_empty(0).to(given.device)
    return Clustering(labels.to(given.device), record, density)


def _is_over(record: list[LevelRecord], k: int, early_stop: bool) -> bool:
    last = record[-1]
    if not last.num_edges:
        return True
    if early_stop and len(record) > 1 and record[-2].num_edges / last.num_edges < k - 1:
        return True
    return last.num_nodes - last.num_edges <= k


def _distance_and_density(
    model: LinkPredictor | None, mode: str, graph: Graph, features: Tensor, means: Tensor | None
) -> tuple[Tensor, Tensor]:
    """(n, K) and (n,) of one level. features: (n, D) of the nodes; means: (n, D) of their clusters."""
    if model is None:
        return 1 - graph.similarities, _mean_similarity(graph)
    with _inference(model):
        same_probability, density = model(features, graph, means)
    return (1 - graph.similarities if mode == "sim" else same_probability[:, :, 0]), density


def _like(graph: Graph, features: Tensor) -> Graph:
    """Where the features are, and with cosines of their dtype."""
    return replace(graph.to(features.device), similarities=graph.similarities.to(features))


def _mean_similarity(graph: Graph) -> Tensor:
    """(N,) mean cosine of a node's valid neighbours, 0 without any: a density that needs no network."""
    return (graph.similarities * graph.valid).sum(dim=1) / graph.valid.sum(dim=1).clamp_min(1)


@contextmanager
def _inference(model: LinkPredictor) -> Iterator[None]:
    """Without gradients, and without dropout: the model's mode is put back at the end."""
    was_training = isinstance(model, nn.Module) and model.training
    try:
        if isinstance(model, nn.Module):
            model.eval()
        with torch.no_grad():
            yield
    finally:
        if isinstance(model, nn.Module):
            model.train(was_training)


def _as_model(features: Tensor, model: LinkPredictor | None) -> Tensor:
    """The features where the model is and of its dtype; a model without parameters takes them where they are."""
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return features.to(compute_dtype(features)) if parameter is None else features.to(parameter)


def _require(k: int, levels: int, mode: str, model: LinkPredictor | None) -> None:
    choose("mode", mode, MODES)
    if k < 2:
        raise UserError(f"k={k}: the image itself counts as one of its k nearest, so k is at least 2.")
    if levels < 1:
        raise UserError(f"levels={levels}: expected at least one.")
    if model is None and mode == "prob":
        raise UserError("mode=prob needs a fitted model; without one, use mode=sim.")
