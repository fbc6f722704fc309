from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch

from shelfmark.core.errors import UserError
from shelfmark.core.files import (
    atomic_path,
    plain,
    read_json,
    sha256_file,
    sha256_json,
    unused_path,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail_halfway(atomic: Callable[[Path], AbstractContextManager[Path]], path: Path) -> None:
    with atomic(path) as beside:
        beside.write_text("half")
        raise RuntimeError


def test_a_file_is_written_whole_with_its_folders_and_nothing_beside_it(tmp_path):
    write_text(tmp_path / "a" / "b.txt", "é\r\n")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "é\r\n".encode()
    assert names(tmp_path / "a") == ["b.txt"]


def test_a_write_that_fails_leaves_the_former_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "former")
    with pytest.raises(RuntimeError):
        fail_halfway(atomic_path, tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "former"
    assert names(tmp_path) == ["a.txt"]


def test_a_file_is_not_to_be_seen_before_it_is_whole(tmp_path):
    with atomic_path(tmp_path / "a.txt") as beside:
        beside.write_text("half")
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_text() == "half"


def test_a_path_that_is_no_utf_8_can_be_written_in_text(tmp_path):
    write_text(tmp_path / "a.txt", b"photo\xff.jpg".decode("utf-8", "surrogateescape"))
    assert (tmp_path / "a.txt").read_bytes() == b"photo\xff.jpg"


def test_a_file_has_the_umasks_mode_whoever_made_it_so_private(tmp_path):
    with atomic_path(tmp_path / "a.bin") as beside:
        os.close(os.open(beside, os.O_WRONLY | os.O_CREAT, 0o600))
    (tmp_path / "b.bin").touch()
    assert (tmp_path / "a.bin").stat().st_mode == (tmp_path / "b.bin").stat().st_mode


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    with atomic_path(tmp_path / "a.txt") as first:
        first.write_text("first")
        with atomic_path(tmp_path / "a.txt") as second:
            second.write_text("second")
        assert first.exists()
    assert (tmp_path / "a.txt").read_text() == "first"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_what_is_no_regular_file_is_not_replaced(tmp_path, kind):
    (os.mkfifo if kind == "fifo" else os.mkdir)(tmp_path / "a")
    with pytest.raises(UserError, match="a is there and is not a regular file"):
        write_text(tmp_path / "a", "text")
    assert names(tmp_path) == ["a"]


def test_the_file_is_on_the_disk_before_its_name_and_the_name_before_it_is_told(tmp_path, monkeypatch):
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def named_fsync(descriptor: int) -> None:
        done.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    def named_replace(source: Path, target: Path) -> None:
        done.append(f"rename {Path(source).name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", named_fsync)
    monkeypatch.setattr(os, "replace", named_replace)
    write_text(tmp_path / "a.txt", "text")
    assert done == ["fsync a.txt", "rename a.txt", f"fsync {tmp_path.name}"]


def test_json_holds_what_json_can_hold(tmp_path):
    value = {
        "array": np.array([1.5, np.nan]),
        "tensor": torch.tensor(2),
        "path": Path("a/b"),
        "tuple": (np.int64(1), float("inf"), None, True, "é"),
        3: "number as key",
    }
    write_json(tmp_path / "a.json", value)
    assert (tmp_path / "a.json").read_text().endswith("}\n")
    assert read_json(tmp_path / "a.json") == {
        "array": [1.5, None],
        "tensor": 2,
        "path": "a/b",
        "tuple": [1, None, None, True, "é"],
        "3": "number as key",
    }


def test_arrays_are_lists_whatever_their_rank_and_scalars_without_a_dimension():
    for value in (torch.tensor([[1.0], [2.0]]), np.array([[1.0], [2.0]]), ((1.0,), [2.0])):
        assert plain(value) == [[1.0], [2.0]]
    assert plain([np.array(3), torch.tensor(3), np.float32(0.5)]) == [3, 3, 0.5]


def test_json_that_cannot_be_read_names_the_file_and_the_place(tmp_path):
    for text, said in (
        (b'{"a": 1,\n oops}', r"a\.json is not valid JSON: .*line 2 column 2"),
        (b'"\xff"', r"a\.json, line 1: the file is not UTF-8 text"),
    ):
        (tmp_path / "a.json").write_bytes(text)
        with pytest.raises(UserError, match=said):
            read_json(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"gone\.json does not exist\."):
        read_json(tmp_path / "gone.json")


def test_a_taken_path_gets_the_first_free_number(tmp_path):
    assert unused_path(tmp_path / "run") == tmp_path / "run"
    (tmp_path / "run").mkdir()
    (tmp_path / "run_2").mkdir()
    assert unused_path(tmp_path / "run") == tmp_path / "run_3"
    (tmp_path / "table.csv").touch()
    assert unused_path(tmp_path / "table.csv") == tmp_path / "table_2.csv"
    (tmp_path / "lr0.1").mkdir()
    assert unused_path(tmp_path / "lr0.1") == tmp_path / "lr0.1_2"


def test_hashes_follow_content_alone(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    assert sha256_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_json({"a": 1, "b": (1, 2)}) == sha256_json({"b": [1, 2], "a": np.int64(1)})
    assert sha256_json({"a": 1}) != sha256_json({"a": "1"})
