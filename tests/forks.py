"""Forks of the process of the tests, which has run many of them before."""

from __future__ import annotations

import gc
import os


def fork() -> int:
    """As os.fork. The child collects nothing that earlier tests left: the end of a session of onnxruntime, for one,
    waits for ever for threads that a fork does not have."""
    child = os.fork()
    if child == 0:
        gc.freeze()
    return child
