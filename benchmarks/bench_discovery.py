"""Clusterers side by side on made-up long-tailed embeddings, and Hi-LANDER's forward pass and decoding.

    make bench-discovery
    python benchmarks/bench_discovery.py --part forward --rounds 3
    python benchmarks/bench_discovery.py --part 20k --scale 0.1

Legend: N images, C classes, D embedding, K = k - 1 neighbours, E edges, H hidden.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from measuring import (
    add_out,
    in_own_process,
    interleaved_seconds,
    is_missing,
    made_by,
    peak_above,
    verdict,
    versions,
    write_page,
)
from torch import Tensor
from torch.nn import functional as F

from shelfmark.core.errors import UserError
from shelfmark.discovery.clusterers import (
    Clusterer,
    Components,
    Dbscan,
    Hdbscan,
    Infomap,
    KMeans,
    LanderClusterer,
    Leiden,
    read_clusterer,
    write_clusterer,
)
from shelfmark.discovery.clusterers.thresholded import Thresholded
from shelfmark.discovery.decode import decode
from shelfmark.discovery.fit import fit
from shelfmark.discovery.lander import Lander, build_graph
from shelfmark.discovery.options import LanderOptions
from shelfmark.ops.cluster_metrics import bcubed, nmi, pairwise
from shelfmark.ops.graph import Graph

Result = TypeVar("Result")

DIM, K, HIDDEN = 128, 10, 512
IMAGES_PER_CLASS = 20
CLASSES_PER_FAMILY = 20
TAIL = 0.75
"""The class of rank r has images in proportion to r ** -TAIL."""
FAMILY_COSINE = 0.5
"""Of the centres of two classes of one family."""
DECAY = 0.75
"""The variance of dimension i is in proportion to i ** -DECAY, as that of trained embeddings falls too."""
SPREADS = (0.4, 1.0)
"""Of a class's vectors about its centre, in lengths of the centre: each class has its own, between these."""
NUM_EPOCHS = 50
MOST_FOR_LANDER = 10_000
"""Images: its training takes as long as they are many."""
TAUS = (0.9, 0.5)
MB, GB = 10**6, 10**9
CLUSTERERS: dict[str, Clusterer] = {
    "components": Components(k=K),
    "dbscan": Dbscan(k=K),
    "kmeans": KMeans(k=K),
    "hdbscan": Hdbscan(k=K),
    "infomap": Infomap(k=K),
    "leiden": Leiden(k=K),
}

METHOD = f"""\
N made-up float32 vectors of length 1 and {DIM} dimensions, dimension i of a variance in proportion to i^-{DECAY}, in
N/{IMAGES_PER_CLASS} classes, that of rank r with images in proportion to r^-{TAIL} and at least 2; centres in families
of {CLASSES_PER_FAMILY} (cosine {FAMILY_COSINE} within one), vectors about them by {SPREADS[0]} to {SPREADS[1]} of the
centre's length, each class its own. What a clusterer lacks is fitted on a labelled set of other classes of the same
families; lander on at most about {MOST_FOR_LANDER:,} of it, those of every nth class. Every step in a process of its
own, once. The graph of the k={K} nearest is built once and handed to all. Memory: the peak above the features and the
graph. A cluster of one counts as every other.
"""
FORWARD_METHOD = f"""\
N nodes of such vectors, k={K}, one attention layer, H={HIDDEN}, first weights; time: medians over the rounds, all in
turn; memory: each in a process of its own. Plain: the same network edge by edge in torch, nothing in chunks, float32.
The difference is the largest of a probability to the plain one's.
"""


@dataclass(frozen=True)
class Size:
    """A made-up pool, and the labelled images of other classes beside it. left_out: why, by clusterer."""

    name: str
    num_images: int
    num_labelled: int
    left_out: dict[str, str]

    def scaled(self, scale: float) -> Size:
        return replace(self, num_images=round(scale * self.num_images), num_labelled=round(scale * self.num_labelled))


SMALL = Size("20k", 20_000, 10_000, {})
LARGE = Size(
    "1m",
    1_000_000,
    50_000,
    {"kmeans": "left out: 50,000 centres are 2.6e14 operations in 20 rounds"},
)
NUM_NODES, NUM_NODES_GPU = 50_000, 1_000_000


@dataclass(frozen=True)
class Measured:
    """What a clusterer did with a pool. learned: what fitting found, in words."""

    fit_s: float
    seconds: float
    num_bytes: int
    num_clusters: int
    pairwise_f: float
    bcubed_f: float
    nmi: float
    learned: str

    @property
    def cells(self) -> str:
        return (
            f"{self.fit_s:,.1f} s | {self.seconds:,.2f} s | {self.num_bytes / MB:,.0f} MB | {self.num_clusters:,} "
            f"| {self.pairwise_f:.3f} | {self.bcubed_f:.3f} | {self.nmi:.3f} | {self.learned}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=["20k", "1m", "forward", "gpu", "all"], default="all")
    parser.add_argument("--rounds", type=int, default=5, help="of the forward pass, that a median is over")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the images to take")
    add_out(parser)
    options = parser.parse_args()
    write_page(page(options.part, options.rounds, options.scale), options.out)


def page(part: str, rounds: int, scale: float) -> Iterator[str]:
    """The lines of the result: what was measured, on what, and the tables."""
    yield "# Discovery: clusterers, and Hi-LANDER's speed"
    yield ""
    yield made_by()
    yield f"Versions: {versions('torch', 'numpy', 'faiss-cpu', 'scikit-learn', 'infomap', 'igraph', 'leidenalg')}."
    if part in ("forward", "gpu", "all"):
        yield ""
        yield FORWARD_METHOD
        yield "| what | time | memory | difference | target |"
        yield "|---|---:|---:|---:|---|"
    if part in ("forward", "all"):
        yield from forward_rows(round(scale * NUM_NODES), rounds)
    if part in ("gpu", "all"):
        yield gpu_row(round(scale * NUM_NODES_GPU))
    for size in (SMALL, LARGE):
        if part in (size.name, "all"):
            yield from table(size.scaled(scale))


def table(size: Size) -> Iterator[str]:
    """The clusterers beside each other on one pool."""
    yield ""
    yield f"## N={size.num_images:,}, fitted on {size.num_labelled:,}"
    yield ""
    yield METHOD
    yield "| clusterer | fit | time | memory | clusters | pairwise F | BCubed F | NMI | learned |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---|"
    with tempfile.TemporaryDirectory() as folder:
        seconds, num_bytes = in_own_process(make_pool, size, Path(folder))
        yield f"| the graph | | {seconds:,.2f} s | {num_bytes / MB:,.0f} MB | | | | | |"
        for name, clusterer in CLUSTERERS.items():
            if name in size.left_out:
                yield f"| {name} | | | | | | | | {size.left_out[name]} |"
            else:
                yield row(name, Path(folder), partial(in_own_process, fit_one, clusterer, Path(folder)))
        fit_s = in_own_process(fit_lander, Path(folder))
        for tau in TAUS:
            yield row(f"lander, tau={tau}", Path(folder), lambda: fit_s, {"tau": tau})


def row(name: str, folder: Path, fitted_s: Callable[[], float], changes: dict[str, Any] | None = None) -> str:
    """fitted_s: leaves the fitted clusterer in the folder. What a clusterer refuses stands in the row."""
    try:
        found = in_own_process(cluster_one, folder, fitted_s(), changes or {})
    except UserError as error:
        return f"| {name} | | | | | | | | {str(error).splitlines()[0]} |"
    return f"| {name} | {found.cells} |"


def make_pool(size: Size, folder: Path) -> tuple[float, int]:
    """Writes the pool, its graph and the labelled images; the seconds and peak memory of the graph."""
    for seed, (name, num_images) in enumerate({"labelled": size.num_labelled, "pool": size.num_images}.items()):
        features, labels = embeddings(num_images, seed, families_of(size.num_images))
        np.save(folder / f"{name}.npy", features)
        np.save(folder / f"{name}_labels.npy", labels)
    seconds, num_bytes, graph = measured(lambda: build_graph(torch.from_numpy(features), K))
    torch.save((graph.neighbours, graph.similarities, graph.valid), folder / "graph.pt")
    return seconds, num_bytes


def fit_one(clusterer: Clusterer, folder: Path) -> float:
    """Writes the clusterer, fitted on the labelled images; seconds of the fit."""
    started = time.perf_counter()
    fitted = clusterer.fit(*labelled(folder))
    seconds = time.perf_counter() - started
    write_clusterer(folder / "clusterer", fitted)
    return seconds


def fit_lander(folder: Path) -> float:
    """Writes a lander, trained on labelled images of every nth class; seconds of the training."""
    features, labels = labelled(folder)
    some = labels % -(-len(labels) // MOST_FOR_LANDER) == 0
    features, labels = features[some], labels[some]
    started = time.perf_counter()
    model = fit(features, labels, LanderOptions(epochs=NUM_EPOCHS, hidden=HIDDEN))
    seconds = time.perf_counter() - started
    write_clusterer(folder / "clusterer", LanderClusterer(model=model, k=K))
    return seconds


def cluster_one(folder: Path, fit_s: float, changes: dict[str, Any]) -> Measured:
    """changes: options of the fitted clusterer."""
    clusterer = replace(read_clusterer(folder / "clusterer"), **changes)
    features, labels = torch.from_numpy(np.load(folder / "pool.npy")), np.load(folder / "pool_labels.npy")
    graph = Graph(*torch.load(folder / "graph.pt"))
    seconds, num_bytes, clusters = measured(lambda: clusterer.cluster(features, graph))
    found = clusters.labels.numpy()
    scores = pairwise(labels, found)[2], bcubed(labels, found)[2], nmi(labels, found)
    return Measured(fit_s, seconds, num_bytes, clusters.num_clusters, *scores, learned_by(clusterer))


def learned_by(clusterer: Clusterer) -> str:
    if isinstance(clusterer, LanderClusterer):
        return f"a network, in {NUM_EPOCHS} epochs"
    if isinstance(clusterer, KMeans):
        return f"{clusterer.images_per_cluster:.1f} images a cluster"
    return f"threshold {clusterer.threshold:.3f}" if isinstance(clusterer, Thresholded) else ""


def forward_rows(num_nodes: int, rounds: int) -> Iterator[str]:
    """Of the plain pass, ours in both precisions, and the decoding."""
    works = ("plain", "fp32", "auto", "decode")
    with tempfile.TemporaryDirectory() as folder:
        in_own_process(make_pool, Size("forward", num_nodes, 100, {}), Path(folder))
        seconds, differences = in_own_process(forward_seconds, Path(folder), rounds)
        num_bytes = {work: in_own_process(forward_bytes, Path(folder), work) for work in works}
    nodes = f"{num_nodes:,} x {DIM}"
    names = {
        "plain": f"plain, {nodes}",
        "fp32": f"forward, {nodes}, precision=fp32",
        "auto": f"forward, {nodes}, precision=auto",
        "decode": f"decode, {nodes}",
    }
    limits = {"auto": 1.2, "decode": 0.1}
    for work in works:
        target = f"under {limits[work]} s: {verdict(seconds[work] < limits[work])}" if work in limits else ""
        difference = f"{differences[work]:.1e}" if work in differences else ""
        yield f"| {names[work]} | {seconds[work]:.3f} s | {num_bytes[work] / MB:,.0f} MB | {difference} | {target} |"


def forward_seconds(folder: Path, rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of each work, and the largest difference of ours to the plain pass."""
    works = forward_works(folder)
    plain = works["plain"]()[0]
    differences = {name: float((works[name]()[0][:, :, 0] - plain).abs().max()) for name in ("fp32", "auto")}
    works["decode"]()
    taken = interleaved_seconds(list(works.values()), torch.device("cpu"), rounds)
    return {name: statistics.median(seconds) for name, seconds in zip(works, taken)}, differences


def forward_bytes(folder: Path, name: str) -> int:
    return measured(forward_works(folder)[name])[1]


def forward_works(folder: Path) -> dict[str, Callable[[], Any]]:
    features, graph = torch.from_numpy(np.load(folder / "pool.npy")), Graph(*torch.load(folder / "graph.pt"))
    model = Lander(DIM, HIDDEN, seed=0).eval()
    with torch.no_grad():
        probabilities, density = model(features, graph, precision="auto")
    apart = probabilities[:, :, 0]

    def ours(precision: str) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return model(features, graph, precision=precision)

    return {
        "plain": lambda: plain_forward(model, features, graph),
        "fp32": lambda: ours("fp32"),
        "auto": lambda: ours("auto"),
        # A threshold that every second edge passes, so that the trees are deep: those of first weights hardly differ.
        "decode": lambda: decode(graph, apart, density, float(1 - apart.median())),
    }


@torch.no_grad()
def plain_forward(model: Lander, features: Tensor, graph: Graph) -> tuple[Tensor, Tensor]:
    """(N, K) probabilities of another class and (N,) densities, written edge by edge from the paper's formulas."""
    layer, edges = model.convolutions[0], model.edges
    node, place = graph.valid.nonzero(as_tuple=True)
    neighbour, similarity = graph.neighbours[node, place], graph.similarities[node, place]
    z = F.normalize(features) @ layer.weight[0].T
    score = F.leaky_relu((z[neighbour] * layer.neighbour_attention[0] + z[node] * layer.node_attention[0]).sum(1), 0.2)
    share = score.exp()
    share = share / torch.zeros(len(z)).index_add_(0, node, share)[node]
    mixed = torch.zeros_like(z).index_add_(0, node, share[:, None] * z[neighbour])
    c = (mixed + layer.head_bias[0] + layer.bias).relu()
    both = model.neighbour_side(c)[neighbour] + model.node_side(c)[node]
    hidden = F.prelu(both, edges.slopes)
    hidden = F.prelu(F.linear(hidden, edges.inner_weight, edges.inner_bias), edges.inner_slopes)
    probabilities = F.linear(hidden, edges.outer_weight, edges.outer_bias).softmax(1)
    leaning = similarity * (probabilities[:, 1] - probabilities[:, 0])
    num_neighbours = torch.bincount(node, minlength=len(z)).clamp_min(1)
    apart = torch.ones(graph.neighbours.shape).index_put_((node, place), probabilities[:, 0])
    return apart, torch.zeros(len(z)).index_add_(0, node, leaning) / num_neighbours


def gpu_row(num_nodes: int) -> str:
    name = f"lander with its graphs, {num_nodes:,} x {DIM}, GPU"
    if is_missing(torch.device("cuda")):
        return f"| {name} | needs a GPU | | | under 30 s: not measured |"
    seconds, num_bytes = in_own_process(cluster_on_gpu, num_nodes)
    return f"| {name} | {seconds:.1f} s | {num_bytes / MB:,.0f} MB | | under 30 s: {verdict(seconds < 30)} |"


def cluster_on_gpu(num_nodes: int) -> tuple[float, int]:
    """Of all levels, with first weights and tau=0, by which most nodes find a parent."""
    device = torch.device("cuda")
    clusterer = LanderClusterer(model=Lander(DIM, HIDDEN, seed=0).to(device).eval(), k=K, tau=0.0)
    clusterer.cluster(torch.from_numpy(embeddings(1000, 1)[0]).to(device))
    features = torch.from_numpy(embeddings(num_nodes, 0)[0]).to(device)
    return measured(lambda: clusterer.cluster(features), device)[:2]


def measured(work: Callable[[], Result], device: torch.device | None = None) -> tuple[float, int, Result]:
    """Seconds, peak memory above what was held, and what the work returned."""
    seconds: list[float] = []

    def timed() -> Result:
        started = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - started)
        return result

    num_bytes, result = peak_above(timed, device or torch.device("cpu"))
    return seconds[0], num_bytes, result


def embeddings(num_images: int, seed: int, num_families: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) float32 vectors of length 1 and (N,) int64 labels, in mixed order.

    num_families: the same ones with every seed, for other classes; 0 takes as many as suits the images.
    """
    generator = np.random.default_rng([seed, 20])
    counts = class_sizes(num_images)
    num_classes = len(counts)
    families = directions(np.random.default_rng(0), num_families or families_of(num_images))
    own = directions(generator, num_classes)
    centres = FAMILY_COSINE**0.5 * families[np.arange(num_classes) % len(families)]
    centres += (1 - FAMILY_COSINE) ** 0.5 * own
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    spread = generator.uniform(*SPREADS, num_classes).astype(np.float32)
    labels = generator.permutation(np.repeat(np.arange(num_classes), counts))
    rows = normal(generator, num_images) * spread[labels, None] + centres[labels]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows, labels


def families_of(num_images: int) -> int:
    return max(1, num_images // (IMAGES_PER_CLASS * CLASSES_PER_FAMILY))


def class_sizes(num_images: int) -> np.ndarray:
    """(C,) int64 images of each class, falling, 2 or more, in all num_images."""
    num_classes = max(1, num_images // IMAGES_PER_CLASS)
    share = np.arange(1, num_classes + 1) ** -TAIL
    counts = 2 + np.floor((num_images - 2 * num_classes) * share / share.sum()).astype(np.int64)
    counts[: num_images - counts.sum()] += 1
    return counts


def directions(generator: np.random.Generator, number: int) -> np.ndarray:
    """(number, D) float32 of length 1."""
    rows = normal(generator, number)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def normal(generator: np.random.Generator, number: int) -> np.ndarray:
    """(number, D) float32, normal about 0, of a mean square length of 1."""
    variance = np.arange(1, DIM + 1) ** -DECAY
    return generator.standard_normal((number, DIM), dtype=np.float32) * np.float32((variance / variance.sum()) ** 0.5)


def labelled(folder: Path) -> tuple[Tensor, Tensor]:
    return tuple(torch.from_numpy(np.load(folder / f"labelled{part}.npy")) for part in ("", "_labels"))


if __name__ == "__main__":
    main()
