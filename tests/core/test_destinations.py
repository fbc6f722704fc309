"""Where results may go, asked before the work."""

from __future__ import annotations

import errno
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


def test_a_folder_within_one_that_is_replaced_whole_is_refused_and_a_file_is_not(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"format_version": 2, "files": {}, "config": {}, "digest": ""}')
    with pytest.raises(UserError, match="new lies in .*, the folder of a checkpoint"):
        require_place(tmp_path / "new", "--out", is_folder=True)
    assert require_place(tmp_path / "thresholds.json", "--out") == tmp_path / "thresholds.json"


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
    for number, said in ((errno.EACCES, "permission denied"), (errno.EROFS, "read-only"), (errno.ENOSPC, "no space")):

        def refuse(path: Path, *_: object, number: int = number) -> None:
            raise OSError(number, os.strerror(number), str(path))

        with monkeypatch.context() as patched:
            patched.setattr(os, "mkdir", refuse)
            with pytest.raises(UserError, match=f"^--out {tmp_path}/x/y cannot be written: .*{said}.* bytes are free"):
                require_place(tmp_path / "x" / "y", "--out", is_folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "file"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc here")
@pytest.mark.parametrize("path", ["/proc/shelfmark/x", "/proc/x", "/sys/x"])
def test_a_folder_of_the_kernel_takes_no_files_whatever_its_mode_says(path: str) -> None:
    with pytest.raises(UserError, match=f"^--out {path} cannot be written: .* bytes are free"):
        require_place(Path(path), "--out")


def test_what_will_not_fit_is_told_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"^--out .*x cannot be written: .*9,\d{3},.* bytes are needed, [\d,]+ bytes are"
    ):
        require_place(tmp_path / "x", "--out", size_bytes=9 * 10**18)
    assert list(tmp_path.iterdir()) == []
