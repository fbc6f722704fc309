"""A disk of a chosen size, and how little of it is free."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SIZE_MIB = 192


@dataclass(frozen=True)
class Disk:
    """A file system of its own, mounted at `root`."""

    root: Path

    @property
    def _ballast(self) -> Path:
        return self.root / "ballast"

    def free(self) -> int:
        """Bytes that can still be written."""
        status = os.statvfs(self.root)
        return status.f_bavail * status.f_frsize

    def leave(self, free_bytes: int) -> None:
        """Fills the disk but for so many bytes, in whole pages."""
        self._ballast.unlink(missing_ok=True)
        taken = self.free() - free_bytes
        if taken > 0:
            with open(self._ballast, "wb") as stream:
                os.posix_fallocate(stream.fileno(), 0, taken)

    def clear(self) -> None:
        """All of the disk is free again, but for what else lies on it."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def mounted(root: Path) -> Iterator[Disk]:
    """A small disk at `root`, an empty folder. Raises OSError where this user may not mount one."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(root)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise OSError(f"there is no mount: {error}") from None
    if done.returncode:
        raise OSError(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        yield Disk(root)
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)
