"""This checkout, and another commit's beside it, for benchmarks that measure both in one loop."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def checkouts_with(old: str | None) -> Iterator[dict[str, Path]]:
    """This checkout, behind that of the commit `old` where one is given: a worktree that is removed at the end."""
    if old is None:
        yield {"here": ROOT}
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "old"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", str(place), old], check=True, capture_output=True)
        try:
            yield {old: place, "here": ROOT}
        finally:
            subprocess.run([*git, "remove", "--force", str(place)], check=True)
