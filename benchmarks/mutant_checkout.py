"""A commit's files in a folder of their own, with the shared data beside them as the tests want it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from shelfmark.core.errors import UserError

ROOT = Path(__file__).parents[1]


def commit_of(revision: str) -> str:
    try:
        return _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").strip()
    except subprocess.CalledProcessError:
        raise UserError(f"{revision!r} is not a commit of {ROOT}; `git log --oneline` lists them.") from None


def checked_out(commit: str, folder: Path) -> Path:
    """DIR/house, out of an archive: a git worktree would stay in the repository's list if this were killed."""
    house = folder / "house"
    house.mkdir(parents=True)
    archive = folder / "house.tar"
    _git("archive", "--format=tar", f"--output={archive}", commit)
    shutil.unpack_archive(archive, house, filter="data")
    archive.unlink()
    shared = Path(_git("rev-parse", "--path-format=absolute", "--git-common-dir").strip()).parents[1] / "shared"
    if shared.is_dir():
        (folder / "shared").symlink_to(shared)
    return house


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
