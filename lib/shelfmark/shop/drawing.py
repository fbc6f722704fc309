"""Pictures drawn by several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import cv2

from shelfmark.core.log import warn

PICTURES_PER_TASK = 128


def drawn(work: Callable[..., None], tasks: Sequence[tuple[Any, ...]], num_workers: int) -> None:
    """Calls `work(*task)` for every task, in `num_workers` processes. work: a function of a module, to be pickled."""
    if num_workers > 1:
        try:
            _drawn_in_processes(work, tasks, num_workers)
            return
        except BrokenProcessPool:
            # A program that came in through a pipe, or one without `if __name__ == "__main__":`, cannot be
            # started a second time.
            warn("no further processes could be started; one process draws the shop")
    for task in tasks:
        work(*task)


def _drawn_in_processes(work: Callable[..., None], tasks: Sequence[tuple[Any, ...]], num_workers: int) -> None:
    # Fresh processes: a fork would copy the locks of threads that torch has started here.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        for done in [pool.submit(work, *task) for task in tasks]:
            done.result()
