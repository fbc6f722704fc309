"""Time and peak memory of the retrieval scores, beside pytorch-metric-learning's.

    make bench-retrieval
    python benchmarks/bench_retrieval.py --part gpu
    python benchmarks/bench_retrieval.py --part sop --scale 0.1

Legend: N images, C classes, D embedding. Where a GPU or a package is missing, the rows that want it say so.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from measuring import (
    add_out,
    in_own_process,
    is_missing,
    made_by,
    peak_above,
    seconds_of,
    verdict,
    version_of,
    versions,
    write_page,
)

from shelfmark.evaluation import retrieval

DIM = 512
KS = (1, 10, 100, 1000)
PEER = "pytorch-metric-learning"
PEER_SCORES = {
    "recall@1": "precision_at_1",
    "r_precision": "r_precision",
    "map@r": "mean_average_precision_at_r",
}
SPREAD = 2.4
"""Of the images about their class's centre, in lengths of the centre: about half of the first places are right."""
NUM_WARM_UP_IMAGES = 500
MB, GB = 10**6, 10**9

METHOD = f"""\
Leave-one-out over N made-up float32 vectors of {DIM} dimensions in C classes of uneven size, all of Recall@1, 10, 100
and 1000, precision@K and mAP@K of the same K, mAP, MAP@R, R-precision, MRR and mINP; the peer gives precision@1,
MAP@R and R-precision. Each measurement in a process of its own, after a warm-up on {NUM_WARM_UP_IMAGES} images; ours
and the peer's in turn, medians over the rounds. Memory: the peak above the features and labels; on a GPU that of its
tensors. The difference is the largest between the three scores that both give.
"""


@dataclass(frozen=True)
class Size:
    """A made-up test set."""

    name: str
    num_images: int
    num_classes: int

    def scaled(self, scale: float) -> Size:
        return Size(self.name, round(scale * self.num_images), round(scale * self.num_classes))

    @property
    def text(self) -> str:
        return f"{self.name}: N={self.num_images:,}, C={self.num_classes:,}"


SOP = Size("as Stanford Online Products", 60_502, 11_316)
LARGE = Size("as AliProducts", 148_000, 50_030)
LARGE_GPU = Size("GPU", 150_000, 50_030)


@dataclass(frozen=True)
class Measured:
    """scores: those of PEER_SCORES."""

    seconds: float
    num_bytes: int
    scores: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=["sop", "large", "gpu", "all"], default="all")
    parser.add_argument("--rounds", type=int, default=1, help="measurements that a median is over")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the images and classes to take")
    add_out(parser)
    options = parser.parse_args()
    write_page(page(options.part, options.rounds, options.scale), options.out)


def page(part: str, rounds: int, scale: float) -> Iterator[str]:
    """The lines of the result: what was measured, on what, and the table."""
    yield "# Retrieval scores: time and memory"
    yield ""
    yield made_by()
    yield f"Rounds: {rounds}. Versions: {versions('torch', 'numpy', 'faiss-cpu', PEER)}."
    yield ""
    yield METHOD
    yield "| case | ours | peer | time ratio | memory, ours / peer | difference | target |"
    yield "|---|---:|---:|---:|---:|---:|---|"
    if part in ("sop", "all"):
        yield beside_the_peer(SOP.scaled(scale), rounds)
    if part in ("large", "all"):
        yield alone(LARGE.scaled(scale), "cpu", rounds, lambda ours: ours.num_bytes < 2 * GB, "under 2 GB")
    if part in ("gpu", "all"):
        yield alone(LARGE_GPU.scaled(scale), "cuda", rounds, lambda ours: ours.seconds < 3, "under 3 s")


def beside_the_peer(size: Size, rounds: int) -> str:
    if version_of(PEER) == "absent":
        return f"| {size.text} | needs {PEER} | | | | | |"
    pairs = [(in_own_process(ours, size, "cpu"), in_own_process(peer, size, "cpu")) for _ in range(rounds)]
    own, other = median([pair[0] for pair in pairs]), median([pair[1] for pair in pairs])
    ratio, share = own.seconds / other.seconds, own.num_bytes / other.num_bytes
    difference = max(abs(own.scores[name] - other.scores[name]) for name in PEER_SCORES)
    return (
        f"| {size.text} | {own.seconds:.1f} s | {other.seconds:.1f} s | {ratio:.2f} "
        f"| {own.num_bytes / MB:,.0f} MB / {other.num_bytes / MB:,.0f} MB ({share:.2f}) | {difference:.1e} "
        f"| 0.5 of the time: {verdict(ratio <= 0.5)}; a fifth of the memory: {verdict(share <= 0.2)} |"
    )


def alone(size: Size, device: str, rounds: int, holds: Callable[[Measured], bool], target: str) -> str:
    if is_missing(torch.device(device)):
        return f"| {size.text} | needs a GPU | | | | | {target}: not measured |"
    own = median([in_own_process(ours, size, device) for _ in range(rounds)])
    cells = f"{own.seconds:.1f} s | | | {own.num_bytes / MB:,.0f} MB | "
    return f"| {size.text} | {cells}| {target}: {verdict(holds(own))} |"


def ours(size: Size, device: str) -> Measured:
    return measured(lambda *batch: retrieval.scores(*batch, KS), size, device, {name: name for name in PEER_SCORES})


def peer(size: Size, device: str) -> Measured:
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    calculator = AccuracyCalculator(include=tuple(PEER_SCORES.values()), k="max_bin_count")
    return measured(calculator.get_accuracy, size, device, PEER_SCORES)


def measured(
    work: Callable[[torch.Tensor, torch.Tensor], dict[str, float]], size: Size, device: str, names: dict[str, str]
) -> Measured:
    """names: what the work calls each of the compared scores."""
    place = torch.device(device)
    work(*test_set(Size("warm-up", NUM_WARM_UP_IMAGES, NUM_WARM_UP_IMAGES // 5), place))
    features, labels = test_set(size, place)
    seconds: list[float] = []
    found: list[dict[str, float]] = []
    num_bytes, _ = peak_above(
        lambda: seconds.append(seconds_of(lambda: found.append(work(features, labels)), place)), place
    )
    return Measured(seconds[0], num_bytes, {ours: found[0][name] for ours, name in names.items()})


def test_set(size: Size, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, D) vectors of length 1 about their class's centre, and (N,) labels; most classes have 1 to 12 images."""
    generator = np.random.default_rng(0)
    share = generator.gamma(4.0, size=size.num_classes)
    # Two of each class, so that every image has a positive, and the others by its share.
    each = np.repeat(np.arange(size.num_classes), 2)
    drawn = generator.choice(size.num_classes, size.num_images - len(each), p=share / share.sum())
    labels = generator.permutation(np.concatenate([each, drawn]))
    draws = torch.Generator().manual_seed(0)
    centres = torch.randn(size.num_classes, DIM, generator=draws) / DIM**0.5
    features = torch.randn(size.num_images, DIM, generator=draws) * (SPREAD / DIM**0.5)
    features += centres[torch.from_numpy(labels)]
    return torch.nn.functional.normalize(features).to(device), torch.from_numpy(labels)


def median(runs: Sequence[Measured]) -> Measured:
    return Measured(
        statistics.median(run.seconds for run in runs),
        round(statistics.median(run.num_bytes for run in runs)),
        runs[0].scores,
    )


if __name__ == "__main__":
    main()
