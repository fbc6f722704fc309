"""The errors of torch's allocators, as one that users are meant to read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from shelfmark.core.errors import UserError

_OF_THE_CPU = re.compile(r"DefaultCPUAllocator|not enough memory: you tried to allocate|std::bad_alloc")
_SHOWN_CHARS = 300


class OutOfMemory(UserError):  # noqa: N818, torch has an OutOfMemoryError
    """The memory of the device is used up. what: which allocation failed, in torch's words."""

    def __init__(self, what: str, kept: str = "") -> None:
        self.what, self.kept = what, kept
        more = f" {kept}." if kept else ""
        super().__init__(f"there is not enough memory: {what}{more}")


@contextmanager
def memory_errors_told(kept: Callable[[], str] = lambda: "") -> Iterator[None]:
    """A block whose allocations that fail raise `OutOfMemory`. kept: () -> which checkpoints a failed run has."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_of_memory(error):
            raise
        # Not from the error: it would keep the tensors alive that took the memory.
        raise OutOfMemory(_first_sentences(error), kept()) from None


def _is_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or bool(_OF_THE_CPU.search(str(error)))


def _first_sentences(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "an allocation failed"
    text = text.partition(" If reserved but unallocated")[0].partition(" Error code")[0]
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]} ..."
