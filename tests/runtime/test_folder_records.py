"""Ids and labels of a folder's photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.retrieval.index import Records
from shelfmark.runtime.folder_records import folder_ids, folder_labels

NOTHING = Records(Strings.of([]), np.empty(0, np.int64), Strings.of([]))


def photographs(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def indexed(folder: Path, ids: list[str], names: list[str]) -> Records:
    paths = [str(folder / name) for name in names]
    return NOTHING.followed_by(Records(Strings.of(ids), np.zeros(len(ids), np.int64), Strings.of(paths)))


def test_ids_take_as_many_folders_as_make_them_new(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name / "tea" for name in ("x", "y", "z/y"))
    names = ["1.jpg", "back/2.jpg"]
    photographs(*(folder / name for folder in (first, second, third) for name in names))
    present = NOTHING
    for folder, expected in ((first, "tea"), (second, "y/tea"), (third, "z/y/tea")):
        ids = folder_ids(folder, names, present)
        assert ids == [f"{expected}/1.jpg", f"{expected}/back/2.jpg"]
        present = present.followed_by(indexed(folder, ids, names))
        present.require_new(indexed(tmp_path, ["other"], ["other"]))
        # The same photographs again are no new ones, also under a longer id, a prefix or the path of a link.
        for prefix in (None, "shop"):
            with pytest.raises(UserError, match=rf"1\.jpg with the id '{expected}/1\.jpg' is there already"):
                folder_ids(folder, names, present, prefix)
    (tmp_path / "link").symlink_to(tmp_path / "x")
    with pytest.raises(UserError, match=r"link/tea/1\.jpg with the id 'tea/1\.jpg' is there already"):
        folder_ids(tmp_path / "link" / "tea", names, present)
    (tmp_path / "other").symlink_to(first)
    with pytest.raises(UserError, match=r"other/1\.jpg with the id 'tea/1\.jpg' is there already, and so are 1 others"):
        folder_ids(tmp_path / "other", names, present, "shop")
    assert folder_ids(first, ["3.jpg"], present, "shop") == ["shop/3.jpg"]


def test_labels_are_those_of_known_names_and_new_ones_behind_them() -> None:
    names = ["Soap/1.jpg", "Käse/back/1.jpg", "Tea/1.jpg", "Apple/1.jpg", "Soap/2.jpg"]
    # The folder is written as macOS writes it.
    names[1] = names[1].replace("ä", "a\N{COMBINING DIAERESIS}")
    labels, used = folder_labels(Path("new"), names, {0: "Tea", 7: "Käse"}, 9)
    assert labels.tolist() == [10, 7, 0, 9, 10]
    assert used == {0: "Tea", 7: "Käse", 9: "Apple", 10: "Soap"}
    labels, used = folder_labels(Path("new/Tea"), ["1.jpg", "2.jpg"], {0: "Tea"}, 9)
    assert (labels.tolist(), used) == ([0, 0], {0: "Tea"})


@pytest.mark.parametrize(
    ("names", "known", "said"),
    [
        (["a/1.jpg", "2.jpg"], {}, "has 1 photograph outside any class folder, such as 2.jpg"),
        (["Tea/1.jpg"], {3: "Tea", 5: "Tea "}, "the classes 3 and 5 are both called 'Tea'"),
    ],
)
def test_labels_that_cannot_be_told_are_refused(names: list[str], known: dict[int, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        folder_labels(Path("new"), names, known, 9)
