from __future__ import annotations

import errno
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import numpy as np
import pytest
import torch
from forks import fork

from shelfmark.core import folders, places
from shelfmark.core.contracts import Embeddings
from shelfmark.core.disk import DiskFullError, allocate, disk_full_told, fsync_tree, make_folders
from shelfmark.core.embeddings import write_embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.files import atomic_path, write_text
from shelfmark.core.folders import (
    atomic_folder,
    exchange,
    folder_to_read,
    holds_our_manifest,
    left_by_version_1,
    read_folder,
)
from shelfmark.core.owners import this_process
from shelfmark.core.places import remove_litter
from shelfmark.core.strings import Strings
from shelfmark.engine.checkpoint import save_checkpoint
from shelfmark.export.folder import write_proof
from shelfmark.retrieval.index import Index, Records
from shelfmark.retrieval.index_files import write_index

PART = re.compile(r"\.best\.[0-9a-f]{16}\.part")
T = TypeVar("T")
STEPS = ("mkdir", "open", "write", "fsync", "rename", "replace", "unlink", "rmdir", "chmod")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def save(path: Path, content: str, **how: object) -> None:
    with atomic_folder(path, **how) as made:  # type: ignore[arg-type]
        (made / "weights.bin").write_text(content)
        (made / "manifest.json").write_text(json.dumps({"format_version": 2, "digest": content}))


def content(path: Path) -> str:
    assert names(path) == ["manifest.json", "weights.bin"]
    weights = (path / "weights.bin").read_text()
    assert json.loads((path / "manifest.json").read_text())["digest"] == weights
    return weights


def killed_at(step: int, work: Callable[[], None]) -> bool:
    """Runs the work in a process that ends as a killed one does, before call number `step`; False if it made fewer."""
    child = fork()
    if child == 0:
        left = [step]

        def counted(call: Callable[..., object]) -> Callable[..., object]:
            def one(*values: object, **named: object) -> object:
                left[0] -= 1
                if left[0] < 0:
                    os._exit(9)
                return call(*values, **named)

            return one

        for name in STEPS:
            setattr(os, name, counted(getattr(os, name)))
        folders.exchange = counted(folders.exchange)  # type: ignore[assignment]
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9)
    return status == 9


def test_a_folder_that_fails_leaves_the_former_one_and_nothing_beside_it(tmp_path):
    def fail_halfway() -> None:
        with atomic_folder(tmp_path / "best") as made:
            (made / "weights.bin").write_text("half")
            raise RuntimeError

    save(tmp_path / "best", "one")
    with pytest.raises(RuntimeError):
        fail_halfway()
    assert names(tmp_path) == ["best"]
    assert content(tmp_path / "best") == "one"


def test_a_folder_takes_the_place_of_the_former_one_whole_which_goes_where_it_should(tmp_path):
    for told in ("one", "two", "three"):
        save(tmp_path / "run" / "best", told)
        save(tmp_path / "last", told, previous=tmp_path / ".last.previous")
    assert names(tmp_path / "run") == ["best"]
    assert content(tmp_path / "run" / "best") == "three"
    assert names(tmp_path) == [".last.previous", "last", "run"]
    assert [content(tmp_path / name) for name in (".last.previous", "last")] == ["two", "three"]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_wherever_a_save_is_killed_a_whole_folder_is_read_and_the_next_save_leaves_no_litter(
    tmp_path, monkeypatch, can_exchange
):
    if not can_exchange:
        monkeypatch.setattr(folders, "exchange", lambda first, second: False)
    for told in ("one", "two"):
        save(tmp_path / "0" / "best", told, previous=tmp_path / "0" / ".best.previous")
    points = 0
    while True:
        root = tmp_path / str(points)
        shutil.copytree(root, tmp_path / str(points + 1))
        best, previous = root / "best", root / ".best.previous"
        killed = killed_at(points, lambda: save(best, "three", previous=previous))  # noqa: B023
        assert content(folder_to_read(best)) in ("two", "three")
        assert content(previous) in ("one", "two") if previous.exists() else not can_exchange
        assert killed or names(root) == [".best.previous", "best"]
        save(best, "four", previous=previous)
        assert names(root) == [".best.previous", "best"]
        assert content(best) == "four"
        if not killed:
            break
        points += 1
    # Every mkdir, write, fsync and rename of a save was a point at which it was killed.
    assert points > 20


def test_a_reader_renames_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "exchange", lambda first, second: False)
    save(tmp_path / "best", "one")
    points = 0
    while killed_at(points, lambda: save(tmp_path / "best", "two")) and (tmp_path / "best").exists():
        save(tmp_path / "best", "one")
        points += 1
    before = names(tmp_path)
    assert len(before) == 1
    assert PART.fullmatch(before[0])
    assert content(folder_to_read(tmp_path / "best")) == "one"
    assert names(tmp_path) == before


def test_a_folder_of_somebody_else_is_not_replaced_and_not_touched(tmp_path):
    for name in ("best", "best.old", ".best.0123456789abcdef.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="best exists and is not a folder that this command wrote.*another path"):
        save(tmp_path / "best", "one")
    (tmp_path / "best" / "thesis.txt").unlink()
    save(tmp_path / "best", "one")
    save(tmp_path / "best", "two")
    assert (tmp_path / "best.old" / "thesis.txt").read_text() == "mine"
    assert (tmp_path / ".best.0123456789abcdef.part" / "thesis.txt").read_text() == "mine"


def test_a_folder_that_became_somebody_elses_meanwhile_is_kept(tmp_path):
    def save_late() -> None:
        with atomic_folder(tmp_path / "best") as made:
            (made / "a").touch()
            (tmp_path / "best").mkdir()
            (tmp_path / "best" / "thesis.txt").write_text("mine")

    with pytest.raises(UserError, match="is not replaced"):
        save_late()
    assert names(tmp_path) == ["best"]
    assert names(tmp_path / "best") == ["thesis.txt"]


def test_a_foreign_folder_where_the_replaced_one_should_go_is_refused_before_the_work(tmp_path):
    save(tmp_path / "last", "one")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="kept exists"):
        save(tmp_path / "last", "two", previous=tmp_path / "kept")
    assert content(tmp_path / "last") == "one"


def test_a_folder_of_one_kind_is_not_replaced_by_another_kind(tmp_path):
    embeddings = Embeddings(np.eye(3, dtype=np.float32), np.arange(3), Strings.of("abc"), Strings.of("abc"), {})
    records = Records(Strings.of("abc"), np.arange(3), Strings.of("abc"), {})
    writers = {
        "checkpoint": lambda folder: save_checkpoint(folder, {"a": torch.ones(2)}, {}, {"config": {}}),
        "features": lambda folder: write_embeddings(folder, embeddings),
        "index": lambda folder: write_index(folder, Index.build(np.eye(3, dtype=np.float32), records, kind="flat")),
    }
    for kind, write in writers.items():
        write(tmp_path / kind)
        write(tmp_path / kind)
    (tmp_path / "exported").mkdir()
    write_proof(tmp_path / "exported", {})
    for is_damaged in (False, True):
        before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
        for standing in (*writers, *([] if is_damaged else ["exported"])):
            for kind in {*writers, "exported model"} - {standing, f"{standing} model"}:
                with (
                    pytest.raises(UserError, match="is not a folder that this command wrote"),
                    atomic_folder(tmp_path / standing, kind=kind),
                ):
                    pass
            for kind in {*writers} - {standing}:
                with pytest.raises(UserError, match="is not a folder that this command wrote"):
                    writers[kind](tmp_path / standing)
        assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
        for kind in writers:
            (tmp_path / kind / "manifest.json").write_bytes(b"{")


def test_nothing_is_written_into_a_folder_that_is_replaced_whole(tmp_path):
    save_checkpoint(tmp_path / "last", {"a": torch.ones(2)}, {}, {"config": {}})
    for inside in ("last/inside", "last/some/where"):
        with pytest.raises(UserError, match="lies in .*last, the folder of a checkpoint"):
            save(tmp_path / inside, "one")
    assert names(tmp_path / "last") == ["manifest.json", "model.safetensors", "state.pt"]
    # The manifest of a run's folder says nothing of the kind, and folders in it are its parts.
    save(tmp_path / "run", "one")
    save(tmp_path / "run" / "part", "one")


@pytest.mark.parametrize(
    ("manifest", "ours"),
    [
        ('{"format_version": 1, "num_rows": 5, "dim": 3}', True),
        ('{"format_version": 1, "kind": "flat", "metric": "cosine", "num_vectors": 3}', True),
        ('{"format_version": 1, "files": {}, "config": {}}', True),
        ('{"format_version": 2, "digest": "abc"}', True),
        ('{"format_version": 2, "header": {"name": "a game"}}', False),
        ('{"manifest_version": 3}', False),
        ("[1, 2]", False),
        (None, False),
    ],
)
def test_ours_is_what_has_a_manifest_of_ours(tmp_path, manifest, ours):
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    assert holds_our_manifest(tmp_path) is ours


def test_a_damaged_folder_of_ours_is_known_by_its_other_files(tmp_path):
    for number, manifest in enumerate((None, b"", bytes(100), b'{"format_version": 2, "digest": "cut o')):
        folder = tmp_path / str(number)
        folder.mkdir()
        if manifest is not None:
            (folder / "manifest.json").write_bytes(manifest)
        known = [holds_our_manifest(folder)]
        for name in ("model.safetensors", "state.pt", "thesis.txt"):
            (folder / name).touch()
            known.append(holds_our_manifest(folder))
        assert known == [False, False, True, False]


def test_the_folder_behind_a_link_is_replaced_and_the_link_stays(tmp_path):
    save(tmp_path / "large_disk" / "best", "one")
    (tmp_path / "best").symlink_to(tmp_path / "large_disk" / "best")
    save(tmp_path / "best", "two")
    assert (tmp_path / "best").is_symlink()
    assert content(tmp_path / "large_disk" / "best") == "two"
    assert names(tmp_path / "large_disk") == ["best"]


@pytest.fixture
def two_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A run whose `last` is a link to another disk: no rename leads from one to the other."""

    def disk(path: object) -> str:
        return Path(os.path.abspath(str(path))).relative_to(tmp_path).parts[0]

    def refused_between_disks(call: Callable[[Path, Path], T]) -> Callable[[Path, Path], T]:
        def one(first: Path, second: Path) -> T:
            if disk(first) != disk(second):
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(first), None, str(second))
            return call(first, second)

        return one

    monkeypatch.setattr(os, "rename", refused_between_disks(os.rename))
    monkeypatch.setattr(folders, "exchange", refused_between_disks(folders.exchange))
    run, other = tmp_path / "a" / "run", tmp_path / "b"
    save(other / "large", "one")
    run.mkdir(parents=True)
    (run / "last").symlink_to(other / "large")
    return run, other


def test_behind_a_link_to_another_disk_the_former_generation_is_kept_beside_the_link(two_disks):
    run, other = two_disks
    for told in ("two", "three"):
        save(run / "last", told, previous=run / ".last.previous")
    assert names(run) == [".last.previous", "last"]
    assert names(other) == ["large"]
    assert [content(run / name) for name in names(run)] == ["two", "three"]


def test_where_the_former_generation_has_no_room_nothing_is_replaced(two_disks, monkeypatch):
    run, other = two_disks
    save(run / "last", "two", previous=run / ".last.previous")

    def full(source: Path, target: Path, dirs_exist_ok: bool) -> None:
        raise shutil.Error([(str(source), str(target), f"[Errno 28] {os.strerror(errno.ENOSPC)}")])

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(UserError, match=r"a/run/\.last\.previous cannot be written: no space is left"):
        save(run / "last", "three", previous=run / ".last.previous")
    assert names(run) == [".last.previous", "last"]
    assert names(other) == ["large"]
    assert [content(run / name) for name in names(run)] == ["one", "two"]


def test_a_folder_that_cannot_be_made_is_told_with_the_reason(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"the folder .*file/x/y cannot be made: Not a directory"):
        make_folders(tmp_path / "file" / "x" / "y")

    def read_only(self: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(UserError, match=r"the folder .*log/x cannot be made: Read-only file system \(.*log/x\)"):
        make_folders(tmp_path / "log" / "x")
    with pytest.raises(UserError, match="Read-only file system"):
        write_text(tmp_path / "log" / "a.txt", "a")


def test_work_folders_are_unguessable_and_private_and_what_is_made_is_as_others_are(tmp_path):
    seen = set()
    for _ in range(3):
        with atomic_folder(tmp_path / "best") as made:
            assert PART.fullmatch(made.parent.name)
            assert made.parent.stat().st_mode & 0o777 == 0o700
            seen.add(made.parent.name)
            os.close(os.open(made / "weights.bin", os.O_WRONLY | os.O_CREAT, 0o600))
            write_text(made / "manifest.json", '{"format_version": 2, "digest": ""}')
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "file").touch()
    assert len(seen) == 3
    assert (tmp_path / "best").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "best" / "weights.bin").stat().st_mode == (tmp_path / "plain" / "file").stat().st_mode


def test_links_planted_at_the_names_of_work_files_are_not_followed(tmp_path, monkeypatch):
    (tmp_path / "target").write_text("mine")
    taken = "00" * 8
    (tmp_path / f".best.{taken}.part").symlink_to(tmp_path)
    (tmp_path / f".best.{os.getpid()}.part").symlink_to(tmp_path / "target")
    tokens = iter([taken, "11" * 8])
    monkeypatch.setattr(places, "secrets", SimpleNamespace(token_hex=lambda size: next(tokens)))
    with pytest.raises(UserError, match="best cannot be written: File exists"):
        write_text(tmp_path / "best", "text")
    write_text(tmp_path / "best", "text")
    assert (tmp_path / "target").read_text() == "mine"
    assert sorted(name for name in names(tmp_path) if name.endswith(".part")) == sorted(
        [f".best.{taken}.part", f".best.{os.getpid()}.part"]
    )


@contextmanager
def left_by(path: Path, **changes: object) -> Iterator[Path]:
    """A work place as a dead writer leaves it, but for some facts about the writer."""
    child = fork()
    if child == 0:
        with atomic_folder(path) as made:
            (made / "half.bin").write_text("half")
            os._exit(9)
    os.waitpid(child, 0)
    (folder,) = path.parent.glob(f".{path.name}.*.part")
    (marker,) = folder.glob("*.owner")
    marker.write_text(json.dumps({**json.loads(marker.read_text()), **changes}))
    yield folder


def age(folder: Path, seconds: float) -> None:
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (time.time() - seconds,) * 2)


def test_what_dead_writers_left_is_removed_at_the_next_save(tmp_path):
    best = tmp_path / "best"
    for changes in ({}, {"boot": "before the restart"}):
        with left_by(best, **changes) as litter:
            save(best, "one")
            assert not litter.exists()
    with left_by(tmp_path / "other") as litter:
        save(best, "two")
        assert litter.exists()
        remove_litter(tmp_path)
        assert not litter.exists()


def test_what_a_machine_that_cannot_be_asked_left_goes_after_a_day_without_a_change(tmp_path):
    with left_by(tmp_path / "best", host="another", boot="another") as litter:
        save(tmp_path / "best", "one")
        assert litter.exists()
        age(litter, 25 * 3600)
        save(tmp_path / "best", "two")
        assert not litter.exists()


def test_what_a_living_writer_makes_is_left(tmp_path):
    with atomic_folder(tmp_path / "best") as first:
        age(first.parent, 25 * 3600)
        save(tmp_path / "best", "second")
        remove_litter(tmp_path)
        write_text(first / "manifest.json", '{"format_version": 2, "digest": "first"}')
        (first / "weights.bin").write_text("first")
    assert content(tmp_path / "best") == "first"


def test_without_flock_the_process_itself_says_whether_it_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "try_flock", lambda descriptor, wait=False: None)
    with atomic_folder(tmp_path / "best"):
        remove_litter(tmp_path)
        assert len(names(tmp_path)) == 1
    with left_by(tmp_path / "best") as litter:
        remove_litter(tmp_path)
        assert not litter.exists()
    with left_by(tmp_path / "best", pid=os.getpid()) as litter:
        # The number is taken again by a process that began at another time.
        remove_litter(tmp_path)
        assert not litter.exists()
    with left_by(tmp_path / "best", pid=os.getpid(), started=this_process().started) as litter:
        remove_litter(tmp_path)
        assert litter.exists()


def test_a_process_forked_while_a_folder_is_made_does_not_keep_it_alive(tmp_path):
    gate = os.pipe()
    child = fork()
    if child == 0:
        with atomic_folder(tmp_path / "best"):
            if fork() == 0:
                os.close(gate[1])
                os.read(gate[0], 1)
            os._exit(9)
    os.waitpid(child, 0)
    save(tmp_path / "best", "one")
    assert names(tmp_path) == ["best"]
    os.close(gate[1])


def test_a_forked_process_that_fails_takes_nothing_from_its_parent(tmp_path):
    child = 0

    def fail_in_a_child(made: Path) -> None:
        nonlocal child
        child = fork()
        if child == 0:
            raise RuntimeError

    try:
        with atomic_folder(tmp_path / "best") as made:
            (made / "manifest.json").write_text('{"format_version": 2, "digest": "one"}')
            (made / "weights.bin").write_text("one")
            fail_in_a_child(made)
            os.waitpid(child, 0)
    except RuntimeError:
        os._exit(9)
    assert content(tmp_path / "best") == "one"


def test_a_long_name_is_no_obstacle(tmp_path):
    path = tmp_path / ("n" * 250)
    save(path, "one")
    with left_by(tmp_path / "short"):
        pass
    save(path, "two")
    assert content(path) == "two"


def test_a_reader_that_was_overtaken_by_a_writer_reads_again(tmp_path):
    save(tmp_path / "best", "one")
    reads = []

    def read(folder: Path) -> tuple[str, str]:
        first = (folder / "manifest.json").read_text()
        if not reads:
            save(tmp_path / "best", "two")
        reads.append(folder)
        return first, (folder / "weights.bin").read_text()

    first, second = read_folder(tmp_path / "best", read)
    assert json.loads(first)["digest"] == second == "two"
    assert len(reads) == 2

    def damaged(folder: Path) -> None:
        reads.append(folder)
        raise UserError("damaged")

    # What stays damaged is told once.
    with pytest.raises(UserError, match="damaged"):
        read_folder(tmp_path / "best", damaged)
    assert len(reads) == 3


def test_what_version_0_1_0_left_is_named_and_not_renamed(tmp_path):
    (tmp_path / "best.old").mkdir()
    assert left_by_version_1(tmp_path / "best") == ""
    write_text(tmp_path / "best.old" / "manifest.json", '{"format_version": 1, "num_rows": 5, "dim": 3}')
    assert re.search(r"best\.old may be .* rename it to best\.", left_by_version_1(tmp_path / "best"))
    assert folder_to_read(tmp_path / "best") == tmp_path / "best"
    assert names(tmp_path) == ["best.old"]


def test_two_names_are_exchanged_or_nothing_is_changed(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this system or file system cannot exchange two names")
    assert [names(tmp_path / name) for name in ("a", "b")] == [["b"], ["a"]]
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "a", tmp_path / "gone")


def test_every_file_and_folder_is_on_the_disk_before_the_name(tmp_path, monkeypatch):
    done: list[str] = []
    fsync = os.fsync

    def named_fsync(descriptor: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    with atomic_folder(tmp_path / "new" / "best") as made:
        monkeypatch.setattr(os, "fsync", named_fsync)
        (made / "deep").mkdir()
        (made / "deep" / "a.bin").touch()
        (made / "b.bin").touch()
    assert set(done[:-1]) == {"a.bin", "b.bin", "deep", "best"}
    assert done.index("a.bin") < done.index("deep") < done.index("best")
    assert done[-1] == "new"


def test_a_tree_of_many_files_is_put_on_the_disk_too(tmp_path, monkeypatch):
    synced: list[object] = []
    monkeypatch.setattr("shelfmark.core.disk._MANY_FILES", 2)
    monkeypatch.setattr("shelfmark.core.disk.fsync_file", synced.append)
    for name in "abc":
        (tmp_path / name).write_text(name)
    for can_sync_all, files in ((True, 0), (False, 3)):
        synced.clear()
        monkeypatch.setattr("shelfmark.core.disk._syncfs", lambda folder, done=can_sync_all: done)
        fsync_tree(tmp_path)
        assert len(synced) == files


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_a_users_error_with_the_outermost_path_and_what_stood_there_stays(tmp_path, monkeypatch, number):
    save(tmp_path / "best", "one")

    def full(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match=r"best cannot be written: ") as raised:
        save(tmp_path / "best", "two")
    assert ".part" not in str(raised.value)
    assert "bytes are free" in str(raised.value)
    assert names(tmp_path) == ["best"]
    assert content(tmp_path / "best") == "one"


def test_where_bytes_are_free_another_limit_is_named(tmp_path, monkeypatch):
    found = os.statvfs(tmp_path)
    counts = {name: getattr(found, name) for name in ("f_bavail", "f_frsize", "f_files", "f_favail")}

    def told(**changed: int) -> str:
        with monkeypatch.context() as patched:
            patched.setattr(os, "statvfs", lambda path: SimpleNamespace(**{**counts, **changed}))
            with pytest.raises(DiskFullError) as raised, disk_full_told(tmp_path / "a", 5000):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return str(raised.value)

    no_inodes = told(f_files=1000, f_favail=0)
    assert "all its inodes are used; " in no_inodes
    assert "Remove files there" in no_inodes
    # This file system counts no inodes.
    blocks = 75 * 10**9 // counts["f_frsize"]
    plenty = told(f_files=0, f_favail=0, f_bavail=blocks)
    assert f"5,000 bytes are needed, {blocks * counts['f_frsize']:,} bytes are free: it may be out of inodes" in plenty
    assert "at least 8,193 bytes are needed, 8,192 bytes are free" in told(f_bavail=8192, f_frsize=1)


def test_too_little_room_is_told_before_the_work_with_both_sizes(tmp_path):
    with (
        pytest.raises(DiskFullError, match=r"best cannot be written: .*1,000,000,000,000,000 bytes are needed, [\d,]+"),
        atomic_folder(tmp_path / "best", size_bytes=10**15),
    ):
        raise AssertionError("no work before the room is known")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "write",
    [
        lambda file: file.write_bytes(bytes(1 << 20)),
        lambda file: np.save(file, np.zeros(1 << 18)),
        lambda file: np.savez(file, a=np.zeros(1 << 18)),
        lambda file: torch.save(torch.zeros(1 << 18), file),
        lambda file: torch.save(torch.zeros(1 << 18), open(file, "wb")),  # noqa: SIM115
    ],
)
def test_every_librarys_failed_write_is_told_and_what_stood_there_stays(tmp_path, write):
    def too_large() -> None:
        with atomic_path(tmp_path / "a.npz") as made:
            write(made)

    write_text(tmp_path / "a.npz", "former")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
        with pytest.raises(DiskFullError, match=r"a\.npz cannot be written: .*`ulimit -f`"):
            too_large()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "a.npz").read_text() == "former"
    assert names(tmp_path) == ["a.npz"]


def test_another_error_stays_what_it_is(tmp_path):
    with pytest.raises(RuntimeError, match="another reason"), disk_full_told(tmp_path / "a"):
        raise RuntimeError("another reason")


def test_room_that_cannot_be_reserved_is_told_with_its_size(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        with open(tmp_path / "b", "wb") as stream, pytest.raises(DiskFullError, match="65,536 bytes are needed"):
            allocate(stream.fileno(), 1 << 16, tmp_path / "b")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"a tiny file system cannot be mounted here: {error}")
    if done.returncode:
        pytest.skip(f"a tiny file system cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_without_inodes_is_told_as_such(tiny_disk):
    save(tiny_disk / "best", "one")
    subprocess.run(["mount", "-o", "remount,nr_inodes=7", str(tiny_disk)], check=True)
    for how in ({}, {"size_bytes": 100}):
        with pytest.raises(DiskFullError, match=r"best cannot be written: .*all its inodes are used"):
            save(tiny_disk / "best", "two", **how)
    assert names(tiny_disk) == ["best"]
    assert content(tiny_disk / "best") == "one"


def test_a_really_full_disk_is_told_and_what_stood_there_stays(tiny_disk):
    save(tiny_disk / "best", "one")
    with pytest.raises(DiskFullError, match=r"best cannot be written: no space is left on the disk"):
        save(tiny_disk / "best", "x" * (1 << 20))
    with pytest.raises(DiskFullError, match="no space is left"):
        write_text(tiny_disk / "a.txt", "x" * (1 << 20))
    with open(tiny_disk / "b", "wb") as stream, pytest.raises(DiskFullError, match="1,048,576 bytes are needed"):
        allocate(stream.fileno(), 1 << 20, tiny_disk / "b")
    (tiny_disk / "b").unlink()
    assert names(tiny_disk) == ["best"]
    assert content(tiny_disk / "best") == "one"


@pytest.mark.parametrize("can_exchange", [True, False])
def test_while_writers_are_killed_again_and_again_a_reader_reads_whole_folders(tmp_path, monkeypatch, can_exchange):
    if not can_exchange:
        monkeypatch.setattr(folders, "exchange", lambda first, second: False)
    last, previous = tmp_path / "last", tmp_path / ".last.previous"

    def write_on(number: int) -> None:
        while True:
            number += 1
            save(last, str(number) * 1000, previous=previous)

    def read(folder: Path) -> None:
        weights = (folder / "weights.bin").read_text()
        if json.loads((folder / "manifest.json").read_text())["digest"] != weights:
            raise UserError("files of two folders")

    save(last, "0", previous=previous)
    waits = random.Random(0)
    for kill in range(15):
        child = fork()
        if child == 0:
            try:
                write_on(1000 * kill)
            finally:
                os._exit(1)
        until = time.monotonic() + waits.uniform(0.01, 0.1)
        while time.monotonic() < until:
            read_folder(last, read)
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        read_folder(last, read)
    save(last, "1", previous=previous)
    assert names(tmp_path) == [".last.previous", "last"]


def test_a_reader_waits_for_a_writer_that_is_between_two_renames(tmp_path):
    save(tmp_path / "last", "one")
    reads = []

    def read(folder: Path) -> str:
        reads.append(folder)
        if len(reads) == 1:
            folder.rename(tmp_path / "aside")
            raise FileNotFoundError(folder)
        if len(reads) == 3:
            (tmp_path / "aside").rename(folder)
        return (folder / "weights.bin").read_text()

    assert read_folder(tmp_path / "last", read) == "one"
    assert len(reads) == 4  # Of the third it cannot know that all files were of one folder.
