"""What memory a worker of the loader takes for itself, at its start and after many batches of a large table."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from measuring import in_own_process

from shelfmark.core.strings import Strings
from shelfmark.data.crop_first import CropFirst
from shelfmark.data.dataset import ImageDataset
from shelfmark.data.loader import TrainLoader
from shelfmark.data.options import AugmentOptions, DataOptions
from shelfmark.data.samplers import SamplingOptions, build_order
from shelfmark.data.sources import FileSource

NUM_ROWS, NUM_BATCHES, BATCH, SIZE_PX = 2_500_000, 300, 16, 224


def memory_rows(photographs: Sequence[Path]) -> Iterator[str]:
    """A table with a line for each way to start a worker."""
    yield f"| worker, {NUM_ROWS:,} rows | after the first batch | after {NUM_BATCHES} batches |"
    yield "|---|---:|---:|"
    for method in ("fork", "forkserver"):
        first, last = in_own_process(worker_megabytes, method, list(map(str, photographs[:64])))
        yield f"| {method} | {first:.0f} | {last:.0f} |"


def worker_megabytes(method: str, files: Sequence[str]) -> tuple[float, float]:
    """Private memory of a training worker that was started so, after its first and its last batch."""
    multiprocessing.set_start_method(method, force=True)
    rows = np.arange(NUM_ROWS)
    names = [files[row % len(files)] for row in range(NUM_ROWS)]
    labels = rows % 1000
    source = FileSource(Strings.of(names), Path("/"))
    del names
    data = DataOptions(pipeline=2)
    dataset = ImageDataset(source, labels, CropFirst(SIZE_PX, AugmentOptions(), data), seed=0, finishes=False)
    order = build_order(SamplingOptions(), labels, 1000, BATCH, 0)
    batches = TrainLoader(dataset, order, num_workers=1).epoch(0)
    next(batches)
    (child,) = (one for one in multiprocessing.active_children())
    first = _private_megabytes(child.pid)
    for _ in islice(batches, NUM_BATCHES):
        pass
    return first, _private_megabytes(child.pid)


def _private_megabytes(process: int | None) -> float:
    told = Path(f"/proc/{process}/smaps_rollup").read_text()
    return sum(int(number) for number in re.findall(r"^Private_\w+:\s+(\d+) kB", told, re.MULTILINE)) / 1000
