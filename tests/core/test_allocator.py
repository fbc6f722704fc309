"""Freed memory stays with the process, on glibc, unless a user turns it off."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys

import pytest

from shelfmark.core.allocator import keep_freed_memory

# Eight blocks of 40 MB, one after the other; prints the page faults of the last seven.
FAULTS = """
import resource
from shelfmark.core.allocator import keep_freed_memory
print(int(keep_freed_memory()))
def touch():
    bytearray(b"x") * 40_000_000
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(7):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment: str) -> tuple[bool, int]:
    command = [sys.executable, "-c", FAULTS]
    path = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(command, env=path | environment, capture_output=True, text=True, check=True)
    is_kept, number = done.stdout.split()
    return is_kept == "1", int(number)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator of this system is not glibc's")
def test_a_block_that_is_freed_serves_again_without_page_faults() -> None:
    pages = 7 * 40_000_000 // resource.getpagesize()
    is_kept, number = faults()
    assert is_kept
    assert number < pages / 20
    is_kept, number = faults(SHELFMARK_KEEP_MEMORY="0")
    assert not is_kept
    assert number > pages / 2


@pytest.mark.parametrize("name", ["GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_a_users_own_settings_of_the_allocator_stay(name: str) -> None:
    assert not keep_freed_memory({name: "1"})
