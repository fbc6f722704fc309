"""Time and memory of the recalibrations at the size of AliProducts, and a sweep of tau beside plain ones.

    make bench-longtail
    python benchmarks/bench_longtail.py --scale 0.1
    python benchmarks/bench_longtail.py --out benchmarks/results/<date>-<device>-longtail.md

Legend: N images, C classes, D embedding. The features are made up; the pass through ResNet-50 needs timm.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import numpy as np
import torch
from measuring import add_out, in_own_process, made_by, resident_bytes, versions, write_page
from torch import Tensor
from torch.nn.functional import normalize

from shelfmark.calibration import (
    CRT,
    LWS,
    Linear,
    LogitAdjustment,
    NearestClassMean,
    TauNorm,
    Temperature,
    tau_normalized,
)
from shelfmark.calibration.calibrated import blocks
from shelfmark.calibration.comparison import held_out_predictions

Result = TypeVar("Result")

TAUS = [round(0.05 * step, 2) for step in range(31)]
NUM_STEPS, BATCH_SIZE = 100, 512
NUM_PASSED_IMAGES = 20_000
"""Of the pass through ResNet-50 that a sweep is to beat."""
NUM_TIMED_IMAGES, PIXELS = 128, 224
RESNET_BATCHES = (32, 64)
SAMPLED_PART = 16
NUM_NOISE_ROWS = 4096
NOISE, LOGIT_SCALE = 0.22, 12.0
SAMPLE_EVERY_S = 0.005
GB = 10**9
MOST_BYTES = 4 * GB

METHOD = f"""\
The features are the class's direction plus noise, so that the classifier is right on some images and wrong on others;
the counts are a made-up long tail. Val features lie in a memory-mapped file, as `shelfmark embed` leaves them. Training
features would take 20 GB: their rows are made anew whenever a method asks for them, from a table of directions and one
of noise, and the time of that is in the method's. cRT and LWS: {NUM_STEPS} steps of {BATCH_SIZE} images are one epoch
of {NUM_STEPS * BATCH_SIZE:,} of the training images; a step does not depend on their number. Each method has a process
of its own. Memory: the peak of RssAnon, sampled every {1000 * SAMPLE_EVERY_S:g} ms, above what was held before the
call; file pages, that is the features, are not in it, nor are the classifier that is given and the two tables.
ResNet-50: fp32, {PIXELS} px, eval, the quickest of batches of {RESNET_BATCHES} in both memory formats over
{NUM_TIMED_IMAGES} images, scaled up. The plain ways are scaled up too: features passed anew for each tau, as in 2020,
is the images' time in ResNet-50 alone, times the taus; one product a tau is measured on every {SAMPLED_PART}th image
and one tau.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="of images and classes; 1 is the size of AliProducts")
    add_out(parser)
    options = parser.parse_args()
    write_page(page(Size.scaled(options.scale), resnet_seconds_per_image), options.out)


def page(size: Size, seconds_per_image: Callable[[], float]) -> Iterator[str]:
    """The lines of the result: what was measured, on what, and the table."""
    yield "# Recalibrations: time and memory at scale"
    yield ""
    yield made_by()
    yield f"{size}. Versions: {versions('torch', 'numpy', 'timm')}. One run of each."
    yield ""
    yield METHOD
    yield "| what | time | memory | target |"
    yield "|---|---:|---:|---|"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_case(size, folder)
        found = {}
        for name in MEASURED:
            for one in in_own_process(measured_here, name, folder, torch.get_num_threads()):
                found[one.what] = one
                yield Row.of(one).markdown()
        yield from (row.markdown() for row in sweep_rows(size, found, seconds_per_image()))


# --- what is measured, and how it is told ---


@dataclass(frozen=True)
class Size:
    num_val: int
    num_train: int
    num_classes: int
    dim: int

    @classmethod
    def scaled(cls, scale: float) -> Self:
        num_val, num_train, num_classes = (round(scale * full) for full in (148_000, 2_500_000, 50_030))
        return cls(max(64, num_val), max(4 * BATCH_SIZE, num_train), max(10, num_classes), 2048)

    def __str__(self) -> str:
        return (
            f"{self.num_classes:,} classes, {self.num_train:,} training and {self.num_val:,} val rows of {self.dim:,}"
        )


@dataclass(frozen=True)
class Measured:
    """extra: bytes, None where they are not asked for. most: what they must stay under, where there is a target."""

    what: str
    seconds: float
    extra: int | None = None
    most: int | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    time: str
    memory: str = ""
    target: str = ""

    @classmethod
    def of(cls, measured: Measured) -> Self:
        target = ""
        if measured.most is not None:
            assert measured.extra is not None, measured
            target = verdict(f"under {measured.most / GB:g} GB", measured.extra < measured.most)
        memory = "" if measured.extra is None else f"{measured.extra / GB:.2f} GB"
        return cls(measured.what, shown_seconds(measured.seconds), memory, target)

    def markdown(self) -> str:
        return f"| {self.what} | {self.time} | {self.memory} | {self.target} |"


def verdict(target: str, is_met: bool) -> str:
    return f"{target}: {'met' if is_met else '**missed**'}"


def shown_seconds(seconds: float) -> str:
    if seconds >= 100:
        return f"{seconds:,.0f} s"
    return f"{seconds:.3g} s" if seconds >= 0.1 else f"{1000 * seconds:.3g} ms"


def sweep_rows(size: Size, found: dict[str, Measured], seconds_per_image: float) -> Iterator[Row]:
    """The pass that a sweep is to beat, and the sweep beside the plain ways to make it."""
    ours = found[SWEEP].seconds
    one_pass = NUM_PASSED_IMAGES * seconds_per_image
    target = verdict(f"{SWEEP} in less time", ours < one_pass)
    rate = f"{shown_seconds(seconds_per_image)} an image"
    yield Row(f"ResNet-50 over {NUM_PASSED_IMAGES:,} images, {rate}", shown_seconds(one_pass), target=target)
    plain = {
        "features passed anew for each tau, as in 2020": len(TAUS) * size.num_val * seconds_per_image,
        "stored features, one product a tau": found[ONE_TAU].seconds * len(TAUS),
    }
    for name, seconds in plain.items():
        yield Row(f"{len(TAUS)} taus, plain: {name}", f"{shown_seconds(seconds)}, {seconds / ours:,.1f} times ours")


# --- the methods ---

SWEEP = f"tau-norm, {len(TAUS)} taus and the choice by folds"
ONE_TAU = "plain: one tau, a product of stored features"
NCM, PREDICT = "nearest class mean: the means of all training rows", "nearest class mean: val predicted"


def tau_norm(case: Case) -> Iterator[Measured]:
    work = lambda: TauNorm(TAUS).fit(case.val, case.val_labels, case.weight, case.bias, case.counts)  # noqa: E731
    yield measured(SWEEP, work, MOST_BYTES)


def logit_adjustment(case: Case) -> Iterator[Measured]:
    method = LogitAdjustment(case.counts)
    what = f"logit adjustment, {len(method.taus)} taus and the choice by folds"
    yield measured(what, lambda: method.fit(case.val, case.val_labels, case.weight, case.bias), MOST_BYTES)


def temperature(case: Case) -> Iterator[Measured]:
    work = lambda: Temperature().fit(case.val, case.val_labels, case.weight, case.bias)  # noqa: E731
    yield measured("temperature, of all images and of each fold's others, with nll and ECE", work, MOST_BYTES)


def nearest_class_mean(case: Case) -> Iterator[Measured]:
    method, train = NearestClassMean(), case.train()
    yield measured(NCM, lambda: method.fit(train.as_array(), train.labels, len(case.weight)), MOST_BYTES)
    work = lambda: held_out_predictions(method, case.val, case.val_labels, len(case.weight))  # noqa: E731
    yield measured(PREDICT, work, MOST_BYTES)


def crt(case: Case) -> Iterator[Measured]:
    train = case.train().first(NUM_STEPS * BATCH_SIZE)
    method = CRT(num_epochs=1, min_steps=0, batch_size=BATCH_SIZE)
    yield from trained("cRT", train, lambda: method.fit(train.as_array(), train.labels, len(case.weight)))


def lws(case: Case) -> Iterator[Measured]:
    train = case.train().first(NUM_STEPS * BATCH_SIZE)
    method = LWS(num_epochs=1, min_steps=0, batch_size=BATCH_SIZE)
    yield from trained("LWS", train, lambda: method.fit(train.as_array(), train.labels, case.weight, case.bias))


def trained(name: str, train: MadeRows, fit: Callable[[], object]) -> Iterator[Measured]:
    """The whole of a training, and its steps: a step begins when its rows are asked for."""
    whole = measured(f"{name}: preparation and {len(train) // BATCH_SIZE} steps", fit)
    yield whole
    steps = np.diff(train.drawn_at)
    assert len(steps) == len(train) // BATCH_SIZE - 1, len(steps)
    yield Measured(f"{name}: a step (median)", float(statistics.median(steps)))


def plain_sweep(case: Case) -> Iterator[Measured]:
    """One tau of the plain loop over stored features, on some of the images; their time is scaled up to all of them."""
    features, labels = np.array(case.val[::SAMPLED_PART]), case.val_labels[::SAMPLED_PART]
    began = time.perf_counter()
    classifier = Linear(tau_normalized(case.weight, TAUS[-1]))
    normalized = time.perf_counter()
    mean_class_accuracy(classifier, features, labels, len(case.weight))
    of_all = (time.perf_counter() - normalized) * len(case.val) / len(features)
    yield Measured(ONE_TAU, normalized - began + of_all)


def mean_class_accuracy(classifier: Linear, features: np.ndarray, labels: Tensor, num_classes: int) -> float:
    """By the product of all features with the classifier's weight, block by block."""
    logits = (classifier.logits(features[block]) for block in blocks(len(labels), num_classes))
    predicted = torch.cat([part.argmax(dim=1) for part in logits])
    right = torch.bincount(labels[predicted == labels], minlength=num_classes)
    total = torch.bincount(labels, minlength=num_classes)
    return float((right[total > 0] / total[total > 0]).mean())


MEASURED: dict[str, Callable[[Case], Iterator[Measured]]] = {
    "tau_norm": tau_norm,
    "logit_adjustment": logit_adjustment,
    "temperature": temperature,
    "nearest_class_mean": nearest_class_mean,
    "crt": crt,
    "lws": lws,
    "plain_sweep": plain_sweep,
}


def measured_here(name: str, folder: Path, num_threads: int) -> list[Measured]:
    torch.set_num_threads(num_threads)
    case = Case.read(folder)
    # The first product starts threads and loads libraries.
    Linear(case.weight[:64]).logits(case.val[:64])
    return list(MEASURED[name](case))


def measured(what: str, work: Callable[[], object], most: int | None = None) -> Measured:
    began = time.perf_counter()
    extra, _ = anonymous_peak_above(work)
    return Measured(what, time.perf_counter() - began, extra, most)


def anonymous_peak_above(work: Callable[[], Result]) -> tuple[int, Result]:
    """The greatest of RssAnon during the work above what it was before, in bytes, and what the work returns.

    Unlike the resident set it leaves out the pages of memory-mapped files. The kernel keeps no peak of it.
    """
    before = resident_bytes("RssAnon")
    seen, is_over = [before], threading.Event()

    def sample() -> None:
        while not is_over.wait(SAMPLE_EVERY_S):
            seen.append(max(seen.pop(), resident_bytes("RssAnon")))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        result = work()
    finally:
        is_over.set()
        sampler.join()
    return seen[0] - before, result


# --- the case ---


@dataclass(frozen=True, eq=False)
class Case:
    """val: (N, D) memory-mapped. weight: (C, D), with long rows and a high bias (C,) for frequent classes."""

    val: np.ndarray
    val_labels: Tensor
    weight: Tensor
    bias: Tensor
    counts: Tensor
    directions: np.ndarray
    noise: np.ndarray

    @classmethod
    def read(cls, folder: Path) -> Self:
        val, directions, noise = (
            np.load(folder / f"{name}.npy", mmap_mode="c") for name in ("val", "directions", "noise")
        )
        val_labels, counts = (torch.from_numpy(np.load(folder / f"{name}.npy")) for name in ("val_labels", "counts"))
        rarity = counts.double().log()
        lengths = LOGIT_SCALE * (counts.double() / counts.max()) ** 0.05
        weight = (torch.tensor(directions) * lengths[:, None]).float()
        return cls(val, val_labels, weight, (0.1 * rarity).float(), counts, directions, noise)

    def train(self) -> MadeRows:
        """All training rows, in an order that mixes the classes."""
        labels = torch.repeat_interleave(torch.arange(len(self.counts)), self.counts)
        shuffled = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
        return MadeRows(self.directions, self.noise, shuffled)


class MadeRows:
    """(N, D) float32 features that are made when they are read, by a slice or by (n,) int64 rows.

    drawn_at: when rows were drawn by their numbers, in seconds, as each step of a training does once.
    """

    ndim = 2

    def __init__(self, directions: np.ndarray, noise: np.ndarray, labels: Tensor) -> None:
        self.directions, self.noise, self.labels = directions, noise, labels
        self.shape = len(labels), directions.shape[1]
        self.drawn_at: list[float] = []

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        else:
            self.drawn_at.append(time.perf_counter())
        made = self.directions[self.labels.numpy()[rows]]
        made += self.noise[rows % len(self.noise)]
        return made

    def first(self, num_rows: int) -> MadeRows:
        return MadeRows(self.directions, self.noise, self.labels[:num_rows])

    def as_array(self) -> np.ndarray:
        """Itself: the methods need no more of an array than it has."""
        return cast(np.ndarray, self)


def write_case(size: Size, folder: Path) -> None:
    """Writes what `Case.read` reads, the same for the same size."""
    generator = torch.Generator().manual_seed(0)
    counts = long_tailed_counts(size)
    directions = normalize(torch.randn(size.num_classes, size.dim, generator=generator))
    noise = NOISE * torch.randn(min(NUM_NOISE_ROWS, size.num_train), size.dim, generator=generator)
    labels = (torch.arange(size.num_val) % size.num_classes)[torch.randperm(size.num_val, generator=generator)]
    arrays = {"counts": counts, "directions": directions, "noise": noise, "val_labels": labels}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array.numpy())
    shape = (size.num_val, size.dim)
    val = np.lib.format.open_memmap(folder / "val.npy", mode="w+", dtype=np.float32, shape=shape)
    for block in blocks(size.num_val, size.dim):
        own = directions[labels[block]]
        val[block] = (own + NOISE * torch.randn(own.shape, generator=generator)).numpy()
    val.flush()


def long_tailed_counts(size: Size) -> Tensor:
    """(C,) falling counts that sum to num_train; every class has an image."""
    share = 1 / torch.arange(1, size.num_classes + 1).double() ** 0.8
    counts = 1 + (share / share.sum() * (size.num_train - size.num_classes)).long()
    counts[0] += size.num_train - counts.sum()
    return counts


# --- the pass that is to be beaten ---


def resnet_seconds_per_image() -> float:
    """Of the quickest batch size and memory format. timm's ResNet-50, random weights."""
    import timm

    network: Any = timm.create_model("resnet50").eval()
    found = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        network = network.to(memory_format=memory_format)
        for batch_size in RESNET_BATCHES:
            images = torch.randn(batch_size, 3, PIXELS, PIXELS).to(memory_format=memory_format)
            found.append(seconds_per_image(network, images, NUM_TIMED_IMAGES // batch_size))
    return min(found)


@torch.no_grad()
def seconds_per_image(network: Callable[[Tensor], Tensor], images: Tensor, num_batches: int) -> float:
    network(images)
    began = time.perf_counter()
    for _ in range(num_batches):
        network(images)
    return (time.perf_counter() - began) / (num_batches * len(images))


if __name__ == "__main__":
    main()
