"""Where pictures lie once links are followed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from shelfmark.data.identity import is_under


class RealRoots:
    """The folders that pictures may come from, with links resolved. given: their absolute paths, as written."""

    def __init__(self, given: Sequence[str]) -> None:
        self.given = given
        self._real = [os.path.realpath(one) for one in given]
        self._real_parents: dict[str, str] = {}

    def target_outside(self, path: str) -> str | None:
        """The file that `path` leads to, if it is outside all roots; None if it is inside one."""
        return self._if_outside(os.path.realpath(path))

    def folder_outside(self, folder: str) -> str | None:
        """As `target_outside`, of a folder that is there, by a path without detours. What its parent is known to lead
        to is not asked for again: of many folders beside each other, each costs one look at the disk."""
        return self._if_outside(self._real_folder(folder.rstrip("/")))

    def _if_outside(self, target: str) -> str | None:
        return None if any(target == real or is_under(target, real) for real in self._real) else target

    def _real_folder(self, folder: str) -> str:
        parent, name = os.path.split(folder)
        if not name or os.path.islink(folder):
            return os.path.realpath(folder or "/")
        if parent not in self._real_parents:
            self._real_parents[parent] = self._real_folder(parent)
        return os.path.join(self._real_parents[parent], name)


def folders_behind_links(root: Path, paths: Iterable[str]) -> list[str]:
    """The folders outside `root` to which links below `root` lead, sorted; none lies in another one.

    paths: of files, relative to `root`.
    """
    roots = RealRoots([os.path.abspath(root)])
    found: set[str] = set()
    seen: set[str] = set()
    for path in paths:
        place = os.path.join(roots.given[0], path)
        folder = os.path.dirname(place)
        if os.path.islink(place) and (target := roots.target_outside(place)):
            found.add(os.path.dirname(target))
        elif folder not in seen and (target := roots.target_outside(folder)):
            found.add(target)
        seen.add(folder)
    return sorted(one for one in found if not any(is_under(one, other) for other in found))
