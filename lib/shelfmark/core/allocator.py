"""The memory allocator of the process.

glibc takes every large block from the system and gives it back when it is freed. A step of training on the CPU
allocates the same large tensors again and again, so half of its time goes into page faults. `keep_freed_memory` lets
glibc keep the blocks.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping

SWITCH = "SHELFMARK_KEEP_MEMORY"
"""The environment variable that turns this off: 0."""

# Their numbers in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4

_NEVER = 2**31 - 1
_TOP_PAD_BYTES = 64 * 2**20

_OWN_SETTINGS = (
    "GLIBC_TUNABLES",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
)


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Lets the process keep freed memory for its next tensors; returns whether it does.

    Only with glibc, and only where `environment` neither has SHELFMARK_KEEP_MEMORY=0 nor settings of glibc's allocator
    by the user. It costs a few percent of memory at the peak, and freed memory stays with the process. Another
    allocator, loaded in place of glibc's, is not changed.
    """
    if environment.get(SWITCH, "1") == "0" or any(name in environment for name in _OWN_SETTINGS):
        return False
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    # musl has neither.
    if not hasattr(library, "gnu_get_libc_version") or not hasattr(library, "mallopt"):
        return False
    # No block is mapped by itself, the top of the heap is never given back, and it grows in large pieces.
    settings = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: _NEVER, _M_TOP_PAD: _TOP_PAD_BYTES}
    return all([library.mallopt(ctypes.c_int(key), ctypes.c_int(value)) == 1 for key, value in settings.items()])
