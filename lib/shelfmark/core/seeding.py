"""Draws of code that takes no generator, such as the first weights of a module or torchvision's transforms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Inside, what torch draws on the CPU and on `device` follows from the seed; afterwards all goes on as before.

    `torch.manual_seed` would set the generators of all GPUs.
    """
    cuda = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(cuda):
        torch.default_generator.manual_seed(seed)
        for one in cuda:
            torch.cuda.default_generators[one.index].manual_seed(seed)
        yield


@contextmanager
def drawing(seed: int, seeds_torch: bool) -> Iterator[torch.Generator]:
    """The generator to draw from, seeded. seeds_torch: it is torch's own, as inside `seeded`, for code that takes no
    other; else it is a new one, which gives the same numbers sooner."""
    if not seeds_torch:
        yield torch.Generator().manual_seed(seed)
        return
    with seeded(seed):
        yield torch.default_generator
