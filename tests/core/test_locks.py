from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from forks import fork

from shelfmark.core import locks
from shelfmark.core.errors import UserError
from shelfmark.core.locks import folder_lock
from shelfmark.core.owners import this_process


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def take(folder: Path) -> None:
    with folder_lock(folder, "adding images"):
        pass


def test_the_second_writer_is_told_who_the_first_is_and_the_lock_ends_with_the_block(tmp_path):
    with folder_lock(tmp_path / "new" / "idx", "building"):
        assert names(tmp_path / "new") == [".idx.lock"]
        with pytest.raises(UserError, match=rf"idx is being changed by process {os.getpid()} on .+ since 20.*building"):
            take(tmp_path / "new" / "idx")
        take(tmp_path / "new" / "other")
    # The folder was made for the lock, and nothing came into it.
    assert names(tmp_path) == []
    take(tmp_path / "new" / "idx")
    assert names(tmp_path) == []


def test_another_process_is_refused_while_the_first_lives_and_let_in_when_it_was_killed(tmp_path):
    to_parent, to_child, to_loader = os.pipe(), os.pipe(), os.pipe()
    child = fork()
    if child == 0:
        with folder_lock(tmp_path / "idx", "building"):
            # A loader process that outlives it does not keep the lock.
            if fork() == 0:
                os.close(to_loader[1])
                os.read(to_loader[0], 1)
                os._exit(0)
            os.write(to_parent[1], b"!")
            os.read(to_child[0], 1)
            os._exit(9)
    os.read(to_parent[0], 1)
    with pytest.raises(UserError, match=f"process {child} "):
        take(tmp_path / "idx")
    os.write(to_child[1], b"!")
    os.waitpid(child, 0)
    assert names(tmp_path) == [".idx.lock"]
    take(tmp_path / "idx")
    assert names(tmp_path) == []
    os.close(to_loader[1])


def test_of_many_who_want_it_one_at_a_time_has_it(tmp_path):
    inside, most, had = [0], [0], [0]

    def want() -> None:
        for _ in range(50):
            try:
                with folder_lock(tmp_path / "idx", "building"):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    had[0] += 1
                    inside[0] -= 1
            except UserError:
                pass

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert had[0] >= 1
    assert names(tmp_path) == []


def test_a_link_planted_at_the_locks_name_is_not_followed(tmp_path):
    (tmp_path / "target").write_text("mine")
    (tmp_path / ".idx.lock").symlink_to(tmp_path / "target")
    with pytest.raises(UserError, match="idx cannot be locked for adding images"):
        take(tmp_path / "idx")
    assert (tmp_path / "target").read_text() == "mine"


def test_without_flock_the_file_alone_is_the_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "try_flock", lambda descriptor: None)
    with folder_lock(tmp_path / "idx", "building"):
        owner = json.loads((tmp_path / ".idx.lock").read_text())
        with pytest.raises(UserError, match=r"If that process has ended, delete .*\.idx\.lock"):
            take(tmp_path / "idx")
    (tmp_path / ".idx.lock").write_text(json.dumps({**owner, "host": "another", "boot": "another"}))
    with pytest.raises(UserError, match="on another since"):
        take(tmp_path / "idx")
    (tmp_path / ".idx.lock").write_text(json.dumps({**owner, "started": "1"}))
    take(tmp_path / "idx")
    assert names(tmp_path) == []


def test_a_file_of_somebody_else_at_the_locks_name_is_named_and_left(tmp_path):
    lock = tmp_path / ".idx.lock"
    lock.write_text("my notes\n")
    with pytest.raises(UserError, match=r"\.idx\.lock, which should be its lock, holds something else"):
        take(tmp_path / "idx")
    assert lock.read_text() == "my notes\n"
    (tmp_path / "notes").hardlink_to(lock)
    for text in ("my notes\n", "", this_process().text):
        lock.write_text(text)
        with pytest.raises(UserError, match="a second name elsewhere"):
            take(tmp_path / "idx")
        assert (tmp_path / "notes").read_text() == text
    lock.unlink()
    os.mkfifo(lock)
    with pytest.raises(UserError, match=r"\.idx\.lock, which should be its lock, is no regular file"):
        take(tmp_path / "idx")
    assert names(tmp_path) == [".idx.lock", "notes"]
    lock.unlink()
    lock.touch()
    take(tmp_path / "idx")
    assert names(tmp_path) == ["notes"]
