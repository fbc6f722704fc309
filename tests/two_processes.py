"""Runs a function of a test in several gloo processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def on_two_processes(function: Callable[[], Any], folder: Path) -> list[Any]:
    """As `on_processes`, in two."""
    return on_processes(2, function, folder)


def on_processes(number: int, function: Callable[[], Any], folder: Path) -> list[Any]:
    """What `function()`, defined at the top of a test file, returns in each process, in rank order.

    folder: an empty one. The results are tensors, numbers, texts, and dicts and lists of such.
    """
    # Forks of one process, which has waited for these packages and done nothing else.
    multiprocessing.set_forkserver_preload(["shelfmark.runtime.image_pass", "pytorch_metric_learning.losses"])
    torch.multiprocessing.start_processes(
        _run, args=(number, function, folder), nprocs=number, start_method="forkserver"
    )
    return [torch.load(folder / f"{rank}.pt") for rank in range(number)]


def _run(rank: int, number: int, function: Callable[[], Any], folder: Path) -> None:
    torch.set_num_threads(1)
    meeting_point = f"file://{folder.resolve()}/meeting_point"
    torch.distributed.init_process_group("gloo", init_method=meeting_point, rank=rank, world_size=number)
    try:
        torch.save(function(), folder / f"{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()
