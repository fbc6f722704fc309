"""Whether files are there, folder by folder, against one question to the disk for each path."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from shelfmark.core.strings import Strings
from shelfmark.data import findings as problem
from shelfmark.data.findings import Findings
from shelfmark.data.listed_files import check_files


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """`root` with folders in each other, links to folders and files inside and outside of it, and a loop of links."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "a/deep/er", root / "b", outside / "o/p"):
        folder.mkdir(parents=True)
    for place in ("0.jpg", "a/0.jpg", "a/deep/0.jpg", "a/deep/er/0.jpg", "b/0.jpg", "b/é.jpg", "../outside/o/p/0.jpg"):
        (root / place).touch()
    (outside / "0.jpg").touch()
    (root / "a/deep/0").mkdir()
    for link, target in {
        "in": "a",
        "out": "../outside",
        "b/again": "../a/deep",
        "b/far": "../out/o",
        "a/out.jpg": "../../outside/0.jpg",
        "b/in.jpg": "0.jpg",
        "b/gone.jpg": "nowhere.jpg",
        "loop": "loop",
        "home": ".",
    }.items():
        (root / link).symlink_to(target)
    return root


FOLDERS = [
    "",
    "a/",
    "a/deep/",
    "a/deep/er/",
    "b/",
    "b/again/",
    "b/again/er/",
    "b/far/",
    "b/far/p/",
    "in/",
    "in/deep/er/",
]
FOLDERS += ["out/", "out/o/p/", "home/", "home/out/", "home/home/b/far/p/", "loop/", "loop/a/", "nowhere/", "a/0.jpg/"]
NAMES = ["0.jpg", "0", "out.jpg", "in.jpg", "gone.jpg", "é.jpg", ""]


@pytest.mark.parametrize("has_extra", [False, True])
def test_findings_are_those_of_a_question_for_each_path(tree: Path, has_extra: bool) -> None:
    base, extra = str(tree), str(tree.parent / "outside/o")
    written = [folder + name for folder in FOLDERS for name in NAMES] * 2
    written += [f"{extra}/p/0.jpg", f"{extra}/p/1.jpg", "plain.jpg", ""]
    order = np.random.default_rng(0).permutation(len(written))
    paths = [written[at] for at in order]
    found = Findings()
    check_files(Strings.of(paths), base, [extra] if has_extra else [], found)
    allowed = [os.path.realpath(one) + "/" for one in ([base, extra] if has_extra else [base])]
    wanted = []
    for row, path in enumerate(paths):
        place = os.path.join(base, path)
        if path and not os.path.isfile(place):
            wanted.append((row, problem.MISSING_FILE))
        elif path and not any(os.path.realpath(place).startswith(one) for one in allowed):
            wanted.append((row, problem.LEADS_OUT))
    assert sorted(one[:2] for one in found.errors) == sorted(wanted)
    told = {one.record: one.value for one in found.errors if one.problem == problem.LEADS_OUT}
    assert told
    for row, value in told.items():
        place = os.path.join(base, paths[row])
        assert value.startswith(f"{place} leads to {os.path.realpath(place)}, allowed: {base}")
