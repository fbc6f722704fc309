"""The structures of an index, by faiss. Legend: N vectors, D embedding, Q queries, K neighbours.

A vector is known by its serial number. In flat and hnsw that is its place, counted from 0: faiss moves the later ones
up when it removes from flat, and cannot remove from hnsw. In the ivf kinds it is what was given when it was added.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shelfmark.core.errors import UserError
from shelfmark.core.rng import derive_seed
from shelfmark.retrieval import faiss_index

Structure = Any
"""A faiss index; faiss has no types to name."""


def new_structure(kind: str, dim: int, metric: str, parameters: Mapping[str, int], seed: int) -> Structure:
    """An empty one. The ivf kinds are to be trained before vectors are added."""
    faiss = _faiss()
    measure = faiss.METRIC_L2 if metric == "euclidean" else faiss.METRIC_INNER_PRODUCT
    if kind == "flat":
        return faiss.IndexFlat(dim, measure)
    if kind == "hnsw":
        graph = faiss.IndexHNSWFlat(dim, parameters["links"], measure)
        graph.hnsw.efConstruction = parameters["ef_construction"]
        return graph
    centres = faiss.IndexFlat(dim, measure)
    if kind == "ivf_flat":
        lists = faiss.IndexIVFFlat(centres, dim, parameters["num_lists"], measure)
    else:
        lists = faiss.IndexIVFPQ(centres, dim, parameters["num_lists"], parameters["num_bytes"], 8, measure)
        lists.pq.cp.seed = derive_seed(seed, "index_product_centres") % 2**31
        lists.pq.cp.min_points_per_centroid = 1
    lists.cp.seed = derive_seed(seed, "index_centres") % 2**31
    # Below the least faiss only warns: the number of lists is chosen by the number of vectors already.
    lists.cp.min_points_per_centroid = 1
    return lists


def train(structure: Structure, sample: np.ndarray) -> None:
    """Learns the centres of the ivf kinds from a sample (n, D)."""
    with _torch_threads():
        structure.train(sample)


def add(structure: Structure, kind: str, vectors: np.ndarray, serials: np.ndarray) -> None:
    """Adds vectors (n, D) float32 under their serial numbers (n,)."""
    with _torch_threads():
        if kind.startswith("ivf"):
            structure.add_with_ids(vectors, serials)
        else:
            structure.add(vectors)


def remove(structure: Structure, kind: str, serials: np.ndarray) -> None:
    """Takes vectors out; hnsw keeps them, and `search` passes over them."""
    if kind != "hnsw":
        structure.remove_ids(_faiss().IDSelectorBatch(serials))


def search(
    structure: Structure,
    kind: str,
    query: np.ndarray,
    k: int,
    parameters: Mapping[str, int],
    alive: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores (Q, K) and serial numbers (Q, K), best first; -inf and -1 where fewer were found.

    alive: the serial numbers that count, in hnsw, where some were removed. Euclidean scores are negative distances.
    """
    faiss = _faiss()
    if kind == "hnsw":
        settings: dict[str, Any] = {"efSearch": max(parameters["ef_search"], k)}
        if alive is not None:
            # faiss keeps a pointer into the mask: it has to live as long as the search.
            mask = np.packbits(np.bincount(alive, minlength=structure.ntotal).astype(bool), bitorder="little")
            settings["sel"] = faiss.IDSelectorBitmap(mask)
        asked = faiss.SearchParametersHNSW(**settings)
    else:
        asked = faiss.SearchParametersIVF(nprobe=parameters["num_probes"])
    # faiss.contrib.torch_utils, which pytorch-metric-learning imports, puts a search without `params` in its place.
    searched = getattr(structure, "search_numpy", structure.search)
    with _torch_threads():
        scores, serials = searched(query, k, params=asked)
    if structure.metric_type == faiss.METRIC_L2:
        scores = -np.sqrt(np.maximum(scores, 0))
    scores[serials < 0] = -np.inf
    return scores, serials


def stored_vectors(structure: Structure, kind: str, serials: np.ndarray) -> np.ndarray:
    """(n, D) float32: the vectors under these serial numbers, as ivf_pq can still make them out. A view, of flat."""
    faiss = _faiss()
    if not len(serials):
        return np.empty((0, structure.d), np.float32)
    if kind == "flat":
        return faiss.rev_swig_ptr(structure.get_xb(), structure.ntotal * structure.d).reshape(-1, structure.d)
    if kind == "hnsw":
        return structure.reconstruct_batch(serials)
    structure.set_direct_map_type(faiss.DirectMap.Hashtable)
    vectors = structure.reconstruct_batch(serials)
    structure.set_direct_map_type(faiss.DirectMap.NoMap)
    return vectors


def write_structure(structure: Structure, file: Path) -> None:
    """Writes faiss's own format."""
    _faiss().write_index(structure, str(file))


def read_structure(file: Path) -> Structure:
    """What `write_structure` wrote. Check the file's hash before: faiss trusts what it reads."""
    try:
        return _faiss().read_index(str(file))
    except RuntimeError as error:
        raise UserError(f"{file} cannot be read by this faiss: {error}") from error


@contextmanager
def _torch_threads() -> Iterator[None]:
    """faiss takes as many threads as torch."""
    faiss = _faiss()
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(torch.get_num_threads())
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def _faiss() -> Any:
    """The module, whose own types know a part of it."""
    if not faiss_index.is_installed():
        raise UserError("An index needs faiss: pip install faiss-cpu.")
    return faiss_index.module()
