"""How many trials of a fault are made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def trials(full: int) -> range:
    """The numbers of the trials, each the seed of its own draws; SHELFMARK_FAULT_RUNS=5 makes a short version of it."""
    return range(min(full, int(os.environ.get("SHELFMARK_FAULT_RUNS", str(full)))))


def some(full: Sequence[T]) -> Sequence[T]:
    """All of them; in a short version as many as there are trials, spread over the whole."""
    number = len(trials(len(full)))
    return [full[at * len(full) // number] for at in range(number)]
