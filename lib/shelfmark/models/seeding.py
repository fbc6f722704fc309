"""First weights that a seed decides, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from shelfmark.core.rng import derive_seed


@contextmanager
def seeded(seed: int, role: str) -> Iterator[None]:
    """Inside, what torch draws on the CPU follows from (seed, role); afterwards its generator is as before.

    Modules initialise themselves from the global generator and take no other. Seeding the CPU's alone,
    not through `torch.manual_seed`, leaves those of the GPUs untouched.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, role))
        yield
