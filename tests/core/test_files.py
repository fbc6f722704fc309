from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch

from shelfmark.core.errors import UserError
from shelfmark.core.files import (
    atomic_folder,
    atomic_path,
    plain,
    read_json,
    recover_folder,
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
        (beside / "two.txt" if beside.is_dir() else beside).write_text("half")
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


def test_a_folder_takes_the_place_of_the_former_one_whole(tmp_path):
    for content in ("one", "two"):
        with atomic_folder(tmp_path / "run" / "best") as beside:
            (beside / f"{content}.txt").write_text(content)
    assert names(tmp_path / "run") == ["best"]
    assert names(tmp_path / "run" / "best") == ["two.txt"]


def test_a_folder_that_fails_leaves_the_former_one(tmp_path):
    with atomic_folder(tmp_path / "best") as beside:
        (beside / "one.txt").write_text("one")
    with pytest.raises(RuntimeError):
        fail_halfway(atomic_folder, tmp_path / "best")
    assert names(tmp_path) == ["best"]
    assert names(tmp_path / "best") == ["one.txt"]


def test_a_kill_between_the_renames_is_mended(tmp_path):
    (tmp_path / "best.old").mkdir()
    (tmp_path / "best.old" / "one.txt").write_text("one")
    assert names(recover_folder(tmp_path / "best")) == ["one.txt"]
    assert names(tmp_path) == ["best"]


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path):
    (tmp_path / "best").mkdir()
    (tmp_path / "best.old").mkdir()
    recover_folder(tmp_path / "best")
    assert names(tmp_path) == ["best", "best.old"]


def test_json_holds_what_json_can_hold(tmp_path):
    value = {
        "array": np.array([1.5, np.nan]),
        "tensor": torch.tensor(2),
        "path": Path("a/b"),
        "tuple": (np.int64(1), float("inf"), None, True, "é"),
        3: "number as key",
    }
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == {
        "array": [1.5, None],
        "tensor": 2,
        "path": "a/b",
        "tuple": [1, None, None, True, "é"],
        "3": "number as key",
    }


@pytest.mark.parametrize("value", [torch.tensor([[1.0], [2.0]]), np.array([[1.0], [2.0]]), ((1.0,), [2.0])])
def test_arrays_are_lists_whatever_their_rank(value):
    assert plain(value) == [[1.0], [2.0]]


def test_arrays_without_a_dimension_are_scalars():
    assert plain([np.array(3), torch.tensor(3), np.float32(0.5)]) == [3, 3, 0.5]


def test_json_that_does_not_parse_names_the_file_and_the_place(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1,\n oops}')
    with pytest.raises(UserError, match=r"a\.json is not valid JSON: .*line 2 column 2"):
        read_json(tmp_path / "a.json")


def test_json_that_is_no_text_is_an_error_too(tmp_path):
    (tmp_path / "a.json").write_bytes(b'"\xff"')
    with pytest.raises(UserError, match=r"a\.json is not valid JSON"):
        read_json(tmp_path / "a.json")


def test_a_json_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.json does not exist\."):
        read_json(tmp_path / "gone.json")


def test_a_taken_path_gets_the_first_free_number(tmp_path):
    assert unused_path(tmp_path / "run") == tmp_path / "run"
    (tmp_path / "run").mkdir()
    (tmp_path / "run_2").mkdir()
    assert unused_path(tmp_path / "run") == tmp_path / "run_3"
    (tmp_path / "table.csv").touch()
    assert unused_path(tmp_path / "table.csv") == tmp_path / "table_2.csv"


def test_a_run_folder_with_a_dot_in_its_name_keeps_its_name_in_front(tmp_path):
    (tmp_path / "lr0.1").mkdir()
    assert unused_path(tmp_path / "lr0.1") == tmp_path / "lr0.1_2"


def test_hashes_follow_content_alone(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    assert sha256_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_json({"a": 1, "b": (1, 2)}) == sha256_json({"b": [1, 2], "a": np.int64(1)})
    assert sha256_json({"a": 1}) != sha256_json({"a": "1"})


def test_written_json_ends_its_last_line(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    text = (tmp_path / "a.json").read_text()
    assert text.endswith("}\n")
    assert json.loads(text) == {"a": 1}
