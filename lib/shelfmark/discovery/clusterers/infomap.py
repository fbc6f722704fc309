"""Infomap: parts of the graph that a random walk seldom leaves. Legend: N nodes, E edges.

The package is under the GPL and therefore an extra: nothing of ours depends on it.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.core.rng import derive_seed
from shelfmark.discovery.clusterers.thresholded import Thresholded, strong_edges
from shelfmark.ops.graph import Graph


def is_installed() -> bool:
    """Whether infomap can be imported, without importing it."""
    return importlib.util.find_spec("infomap") is not None


@dataclass(frozen=True, kw_only=True)
class Infomap(Thresholded):
    """The partition in which a random walk, whose steps weigh by similarity, is described in the fewest bits.

    Source: Rosvall and Bergstrom, "Maps of random walks on complex networks reveal community structure", PNAS 2008.
    """

    name: ClassVar[str] = "infomap"

    num_trials: int = 1
    """searches, of which the best counts"""
    seed: int = 0
    """of the searches"""

    def partition(self, graph: Graph, threshold: float) -> Tensor:
        if not is_installed():
            raise UserError("the clusterer infomap needs infomap (GPL): pip install infomap.")
        import infomap

        source, target, similarity = strong_edges(graph, threshold)
        # Infomap takes seeds of 31 bits, above 0.
        seed = 1 + derive_seed(self.seed, "discovery.infomap") % (2**31 - 1)
        engine = infomap.Infomap(silent=True, two_level=True, num_trials=self.num_trials, seed=seed)
        engine.add_nodes(range(graph.num_nodes))
        engine.add_links(zip(source.tolist(), target.tolist(), similarity.tolist()))
        engine.run()
        with TemporaryDirectory() as folder:
            # By a file, for what it returns comes through SWIG's iterators: where faiss, built with SWIG too, was
            # imported before, its own step in and the process dies.
            file = Path(folder) / "parts.clu"
            engine.write_clu(str(file))
            node, part = np.loadtxt(file, dtype=np.int64, comments="#", usecols=(0, 1), ndmin=2, unpack=True)
        parts = torch.full((graph.num_nodes,), -1)
        parts[torch.from_numpy(node)] = torch.from_numpy(part)
        return parts
