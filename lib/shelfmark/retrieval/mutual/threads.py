"""Work in as many threads as torch uses, where each thread computes its own products."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """The results in the order of the items.

    Within the work torch uses one thread, so no core waits while numpy works between two products. The work must draw
    no random numbers and need no gradient.
    """
    num_threads = torch.get_num_threads()
    if num_threads == 1 or len(items) < 2:
        yield from map(work, items)
        return
    try:
        with ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(work, items)
    finally:
        # A thread sets the number for itself and for threads that start later.
        torch.set_num_threads(num_threads)
