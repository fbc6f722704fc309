"""Seconds to make the order of an epoch, at the size of AliProducts, beside the plain ways to make one.

    make bench-samplers

The counts are a made-up long tail. Baselines that draw an image at a time run on a sample of the epoch;
their time is scaled up to the whole of it and marked so.
"""

from __future__ import annotations

import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import RandomSampler, WeightedRandomSampler

from shelfmark.data.samplers import SAMPLERS, Groups, SamplingOptions, build_order
from shelfmark.ops.longtail import reverse_probabilities, sampling_probabilities

NUM_IMAGES = 2_500_000
NUM_CLASSES = 50_030
BATCH_SIZE = 512
IMAGES_PER_CLASS = 4
NUM_RUNS = 7
SAMPLED_DRAWS = 200


def main() -> None:
    labels = long_tailed_labels()
    groups = Groups.of(labels, NUM_CLASSES)
    print(f"{NUM_IMAGES:,} images, {NUM_CLASSES:,} classes of {groups.counts.min()} to {groups.counts.max():,} images,")
    print(f"global batch {BATCH_SIZE}, pk with {IMAGES_PER_CLASS} images a class, median of {NUM_RUNS} runs")
    print(
        f"{processor()}, {torch.get_num_threads()} threads; torch {torch.__version__}, numpy {np.__version__};", end=" "
    )
    print(f"{time.strftime('%Y-%m-%d')}\n")
    print("| order of an epoch | seconds | made once, seconds |")
    print("|---|---:|---:|")
    for name in SAMPLERS:
        options = SamplingOptions(type=name, images_per_class=IMAGES_PER_CLASS)
        started = time.perf_counter()
        order = build_order(options, labels, NUM_CLASSES, BATCH_SIZE, seed=0)
        once = time.perf_counter() - started
        epochs = iter(range(NUM_RUNS + 1))
        print(f"| shelfmark {name} | {median_seconds(lambda: order.rows(next(epochs))):.3f} | {once:.2f} |")  # noqa: B023
    for name, seconds in baselines(groups):
        print(f"| {name} | {seconds:,.3f} | |")


def baselines(groups: Groups) -> Iterator[tuple[str, float]]:
    """(name, seconds for an epoch) of each plain way."""
    images = range(NUM_IMAGES)
    yield "instance: torch RandomSampler", median_seconds(lambda: list(RandomSampler(images)), num_runs=1)
    for name, probabilities in [
        ("class_balanced", sampling_probabilities(groups.counts, power=0.0)),
        ("reverse", reverse_probabilities(groups.counts)),
    ]:
        of_image = (probabilities.numpy() / np.maximum(groups.counts, 1))[groups.classes]
        sampler = WeightedRandomSampler(torch.from_numpy(of_image), NUM_IMAGES)
        seconds = median_seconds(lambda: list(sampler), num_runs=1)  # noqa: B023
        yield f"{name}: torch WeightedRandomSampler, a weight for each image", seconds
    scale = NUM_IMAGES / SAMPLED_DRAWS
    seconds = scale * median_seconds(lambda: scanned_reverse_draws(groups, SAMPLED_DRAWS), num_runs=3)
    yield f"reverse: the classes scanned for each draw, as in 2020 ({SAMPLED_DRAWS} draws x {scale:,.0f})", seconds
    members = [groups.of_class(label).tolist() for label in range(NUM_CLASSES)]
    seconds = median_seconds(lambda: looped_pk_batches(members, NUM_IMAGES // BATCH_SIZE), num_runs=3)
    yield "pk: Python's random.sample for each batch and class", seconds


def long_tailed_labels() -> np.ndarray:
    """(N,) labels in random order; every class has an image, the head tens of thousands."""
    generator = np.random.default_rng(0)
    share = 1 / np.arange(1, NUM_CLASSES + 1) ** 0.8
    drawn = generator.choice(NUM_CLASSES, NUM_IMAGES - NUM_CLASSES, p=share / share.sum())
    return generator.permutation(np.concatenate([np.arange(NUM_CLASSES), drawn]))


def scanned_reverse_draws(groups: Groups, num_draws: int) -> list[int]:
    """Class by a linear search of the cumulated weights, then an image of it."""
    weights = [groups.counts.max() / count for count in groups.counts.tolist()]
    total, rows = sum(weights), []
    for _ in range(num_draws):
        point, passed = random.random() * total, 0.0
        for label, weight in enumerate(weights):
            passed += weight
            if point <= passed:
                rows.append(int(random.choice(groups.of_class(label))))
                break
    return rows


def looped_pk_batches(members: list[list[int]], num_batches: int) -> list[list[int]]:
    """Classes without replacement, then images of each, without replacement where the class has enough."""
    batches = []
    for _ in range(num_batches):
        classes = random.sample(range(len(members)), BATCH_SIZE // IMAGES_PER_CLASS)
        batches.append([row for label in classes for row in some_of(members[label])])
    return batches


def some_of(rows: list[int]) -> list[int]:
    """IMAGES_PER_CLASS of the rows."""
    if len(rows) >= IMAGES_PER_CLASS:
        return random.sample(rows, IMAGES_PER_CLASS)
    return random.choices(rows, k=IMAGES_PER_CLASS)


def median_seconds(work: Callable[[], object], num_runs: int = NUM_RUNS) -> float:
    """The median of `num_runs` runs after one that is not counted."""
    work()
    seconds = []
    for _ in range(num_runs):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def processor() -> str:
    """The processor's name and its number of cores."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


if __name__ == "__main__":
    main()
