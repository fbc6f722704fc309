"""The git checkout that a file lies in: which commit, and whether it was changed since."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

_WAIT_S = 5


def checkout_state(folder: Path) -> dict[str, Any] | None:
    """commit, its hash, and dirty, whether a tracked file differs from it; None without git or outside a checkout."""
    commit = _git(folder, "rev-parse", "HEAD")
    # `HEAD` may be of a repository that only happens to lie above: the folder must be tracked in it.
    if commit is None or not _git(folder, "ls-files", "--", "."):
        return None
    return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_WAIT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
