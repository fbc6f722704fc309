"""Exact search and k-means by faiss."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.core.log import warn
from shelfmark.core.rng import derive_seed


def is_installed() -> bool:
    """Whether faiss can be imported, without importing it."""
    return importlib.util.find_spec("faiss") is not None


@cache
def module() -> ModuleType:
    """faiss, imported at the first call; warns where two of its packages lie over each other."""
    found = importlib.util.find_spec("faiss")
    # Before the import, which such a mixture may fail.
    if found is not None and found.origin is not None and (said := two_packages(Path(found.origin).parents[1])):
        warn(said)
    import faiss

    return faiss


def two_packages(folder: Path) -> str:
    """What to do where more than one package in a folder of packages brings the module faiss, or "".

    Read from the names of the folders that installers leave, <name>-<version>.dist-info: no file is opened.
    """
    found = sorted(
        (name.replace("_", "-"), version)
        for info in folder.glob("faiss_[cg]pu*.dist-info")
        for name, _, version in [info.name.removesuffix(".dist-info").partition("-")]
    )
    if len(found) < 2:
        return ""
    told = " and ".join(f"{name} {version}" for name, version in found)
    return (
        f"{told} are installed together in {folder}. Each brings the module faiss, and the one installed last has"
        f" overwritten files of the other. Remove them all with `pip uninstall {' '.join(name for name, _ in found)}`,"
        " then install the one you want, for example with `pip install faiss-cpu`."
    )


def best_rows(query: Tensor, gallery: Tensor, k: int, metric: str) -> Tensor:
    """(Q, k) int64 rows of the k best gallery vectors, k <= G, as float32 products find them; any order among equals.

    Reads the vectors where they lie, without an index; runs on the CPU with as many threads as torch uses.
    """
    if not is_installed():
        raise UserError("engine=faiss needs faiss: pip install faiss-cpu. engine=torch gives the same neighbours.")
    faiss = module()
    kind = faiss.METRIC_L2 if metric == "euclidean" else faiss.METRIC_INNER_PRODUCT
    with _torch_threads():
        _, rows = faiss.knn(_plain(query), _plain(gallery), k, metric=kind)
    return torch.from_numpy(rows).to(query.device)


def k_means(vectors: Tensor, num_clusters: int, seed: int = 0, iterations: int = 20, spherical: bool = False) -> Tensor:
    """(N,) int64 cluster of each vector by Lloyd's algorithm, from centres that the seed draws among the vectors.

    vectors: (N, D), at least as many as clusters. All of them are used, however many a cluster. On the CPU.
    spherical: centres have length 1, and a vector goes to that of the greatest inner product.
    """
    if not is_installed():
        raise UserError("Clusters need faiss: pip install faiss-cpu.")
    if not 1 <= num_clusters <= len(vectors):
        raise UserError(
            f"{num_clusters} clusters of {len(vectors)} vectors: ask for 1 to as many as there are vectors."
        )
    faiss = module()
    plain = _plain(vectors)
    settings = {"niter": iterations, "seed": derive_seed(seed, "k-means") % 2**31, "spherical": spherical}
    # Lifts the limits on the vectors of a cluster: below the least it only warns, above the most it takes a sample.
    settings |= {"min_points_per_centroid": 1, "max_points_per_centroid": len(plain)}
    with _torch_threads():
        engine = faiss.Kmeans(plain.shape[1], num_clusters, **settings)
        engine.train(plain)
        _, rows = engine.index.search(plain, 1)
    return torch.from_numpy(rows[:, 0])


@contextmanager
def _torch_threads() -> Iterator[None]:
    """faiss takes as many threads as torch."""
    faiss = module()
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(torch.get_num_threads())
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def _plain(vectors: Tensor) -> np.ndarray:
    return np.ascontiguousarray(vectors.cpu().numpy(), dtype=np.float32)
