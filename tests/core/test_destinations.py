"""Where results may go, asked before the work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shelfmark.core.destinations import require_place
from shelfmark.core.errors import UserError


def test_a_place_that_can_be_written_is_returned_and_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "there.csv").touch()
    for path in (tmp_path / "a.csv", tmp_path / "new" / "folder" / "a.csv", tmp_path / "there.csv", Path("a.csv")):
        assert require_place(path, "--out") == path
    assert require_place(tmp_path, "--out", is_folder=True) == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_place_that_cannot_be_written_is_told_with_the_option(
    tmp_path: Path, is_folder: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "broken").symlink_to("nowhere")
    wrong = [tmp_path / "file" / "below", tmp_path / "broken" / "x", tmp_path / ("n" * 300), Path("a\0b")]
    wrong.append(tmp_path / "file" if is_folder else tmp_path)
    for path in wrong:
        with pytest.raises(UserError, match="--out .*(cannot be written|is a f|NUL)"):
            require_place(path, "--out", is_folder)
    # Root may write everywhere, so the system's answer is put in its mouth.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match=f"you may not write in {tmp_path}"):
        require_place(tmp_path / "x" / "y", "--out", is_folder)
