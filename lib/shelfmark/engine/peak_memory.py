"""How much memory a run has taken."""

from __future__ import annotations

import resource
import sys

import torch


def peak_memory_bytes() -> int:
    """The most that this process has held at once so far: on its GPU, if it uses one, else its resident memory."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
