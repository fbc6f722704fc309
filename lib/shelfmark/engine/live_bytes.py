"""The bytes of tensors that live at once while a step computes."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """The most bytes of tensors that `work` made and that lived at once. What lived before does not count.

    On a GPU the allocator counts, kernels' workspaces included. On a CPU every operation is watched, and what a kernel
    takes for itself is not seen.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with _Watched() as watched:
        work()
    return watched.peak


class _Watched(TorchDispatchMode):
    """Counts the storages that operations return, from their first sight until they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._seen: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Views, and results that are written into an argument, stand in storages that were there.
        given = {id(one.untyped_storage()) for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)}
        found = func(*args, **(kwargs or {}))
        for one in tree_leaves(found):
            if isinstance(one, Tensor):
                self._add(one.untyped_storage(), given)
        return found

    def _add(self, storage: Any, given: set[int]) -> None:
        key, size = id(storage), storage.nbytes()
        if key in given or self._seen.get(key) is storage or not size:
            return
        self._seen[key] = storage
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, size).atexit = False

    def _free(self, size: int) -> None:
        self.live -= size
