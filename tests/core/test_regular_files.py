"""Bytes of regular files, also of one that grows between the look at its size and the read."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from shelfmark.core import regular_files
from shelfmark.core.regular_files import NotRegular, TooLarge, open_regular, read_regular


@pytest.mark.parametrize("num_bytes", [0, 1, 100, 200_000])
@pytest.mark.parametrize("told", [0, 99, None])
def test_all_bytes_are_read_whatever_the_size_was_before(
    tmp_path: Path, num_bytes: int, told: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(num_bytes)
    (tmp_path / "a").write_bytes(content)
    if told is not None:
        mode = os.stat(tmp_path / "a").st_mode
        monkeypatch.setattr(regular_files.os, "fstat", lambda _: SimpleNamespace(st_mode=mode, st_size=told))
    for most in (None, num_bytes, num_bytes + 1):
        if told is None or most is None or told <= most:
            assert read_regular(tmp_path / "a", most) == content
    if num_bytes:
        with pytest.raises(TooLarge, match=f"more than {num_bytes - 1:,} bytes"):
            read_regular(tmp_path / "a", num_bytes - 1)


def test_no_descriptor_is_left_open_by_what_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"12345")
    before = len(os.listdir("/proc/self/fd"))
    for name, error in (("pipe", NotRegular), ("large", TooLarge), (".", IsADirectoryError), ("no", FileNotFoundError)):
        with pytest.raises(error):
            read_regular(tmp_path / name, 4)
    with open_regular(tmp_path / "large") as stream:
        assert stream.read() == read_regular(tmp_path / "large") == b"12345"
    assert len(os.listdir("/proc/self/fd")) == before
