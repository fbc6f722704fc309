"""Clocks, memory scales and the names of a machine's parts, for the benchmarks. On Linux."""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import re
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import torch

GROCERY = Path(__file__).resolve().parents[2] / "shared" / "data" / "grocery"
"""The copy of GroceryStoreDataset that is used unless another is named: beside the checkout, as for the tests."""

Result = TypeVar("Result")

MIN_ROUND_S = 0.1


def interleaved_seconds(works: Sequence[Callable[[], object]], device: torch.device, rounds: int) -> list[list[float]]:
    """Seconds of each work in each round: all have their turn in a round, so that a busy moment falls on all.

    The order is turned about after each round, because what runs second finds other caches than what runs first.
    """
    seconds: list[list[float]] = [[] for _ in works]
    turns = list(zip(works, seconds))
    for _ in range(rounds):
        for work, taken in turns:
            taken.append(seconds_of(work, device))
        turns.reverse()
    return seconds


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """The median over as many calls as fill a tenth of a second: a quick one needs many for a steady figure."""
    taken: list[float] = []
    while sum(taken) < MIN_ROUND_S:
        wait_for(device)
        started = time.perf_counter()
        work()
        wait_for(device)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """The median of the ratios, pair by pair."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def peak_above(work: Callable[[], Result], device: torch.device) -> tuple[int, Result]:
    """The peak of memory during the work above what was held before it, in bytes, and what the work returns.

    On a GPU: what torch's tensors take. On a CPU: the kernel's count of the resident set, whose peak it forgets on
    request; measure in a fresh process, because what earlier work freed may stay with the allocator and hide a need.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = work()
        return torch.cuda.max_memory_allocated() - before, result
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_bytes("VmRSS")
    result = work()
    return resident_bytes("VmHWM") - before, result


def resident_bytes(field: str) -> int:
    """VmRSS, the memory held now, or VmHWM, its peak."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found, field
    return 1024 * int(found[1])


def in_own_process(work: Callable[..., Result], *arguments: Any) -> Result:
    """A fresh process each: what earlier work freed may stay with the allocator and hide a need."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(work, *arguments).result()


def is_missing(device: torch.device) -> bool:
    return device.type == "cuda" and not torch.cuda.is_available()


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def verdict(holds: bool) -> str:
    return "met" if holds else "**missed**"


def write_page(lines: Iterable[str], out: Path | None) -> None:
    """Prints each line when it is known, and writes it into `out` too."""
    files = [sys.stdout, *([out.open("w", encoding="utf-8")] if out else [])]
    for line in lines:
        for file in files:
            print(line, file=file, flush=True)


def add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, help="write the page there too")


def made_by() -> str:
    """By which command a page was made, on what and when."""
    command = shlex.join(["python", *sys.argv])
    return f"Command: `{command}`. Device: {device_names()}. Date: {time.strftime('%Y-%m-%d')}."


def device_names() -> str:
    """The processor, with its cores and the threads used, and the GPU."""
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    processor = f"{len(names)} x {names[0]}" if names else platform.machine()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{processor}, {torch.get_num_threads()} threads; {gpu}"


def versions(*packages: str) -> str:
    return ", ".join(f"{package} {version_of(package)}" for package in packages)


def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
