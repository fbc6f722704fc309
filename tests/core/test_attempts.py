"""What a restarted launch knows of the attempts before."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from torch.distributed import TCPStore

from shelfmark.core import dist

# Its second process dies in each attempt but the last, behind a collective; all write down who they are.
DIES_TWICE = """
import os, torch
from pathlib import Path
from shelfmark.core import dist

with dist.process_group(torch.device("cpu")):
    total = dist.sum_over_ranks(torch.ones(1)).item()
    Path(f"{dist.restart_count()}.{dist.rank()}").write_text(f"{total} {dist.launch_id()}")
    if dist.restart_count() < 2 and dist.rank() == 1:
        os._exit(5)
    dist.barrier()
"""


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A process that torchrun started."""
    for name in ("SHELFMARK_LAUNCH", "SHELFMARK_STORE", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    return monkeypatch


def test_an_attempt_reads_nothing_that_the_one_before_left(launched: pytest.MonkeyPatch) -> None:
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    launched.setenv("SHELFMARK_STORE", f"127.0.0.1:{server.port}")

    def attempt(number: int):
        launched.setenv("TORCHELASTIC_RESTART_COUNT", str(number))
        return dist.store_of_this_attempt(timedelta(seconds=5))

    attempt(0).set("address of 1", "a dead process")
    assert attempt(0).check(["address of 1"])
    assert not attempt(1).check(["address of 1"])
    assert dist.restart_count() == 1


def test_a_launch_keeps_its_id_and_another_has_another(launched: pytest.MonkeyPatch) -> None:
    launched.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    first = dist.launch_id()
    launched.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert dist.launch_id() == first
    # The same process id, given to another agent later or on another machine.
    launched.setattr(dist, "_started_at", lambda process: "later")
    assert dist.launch_id() != first
    launched.setenv("SHELFMARK_LAUNCH", "ours")
    assert dist.launch_id() == "ours"


def test_without_a_launcher_there_is_no_launch(launched: pytest.MonkeyPatch) -> None:
    launched.delenv("TORCHELASTIC_RUN_ID")
    assert dist.launch_id() is None
    assert dist.restart_count() == 0


def test_when_a_process_started_is_read_behind_its_name(tmp_path: Path) -> None:
    odd = tmp_path / "a) b ("
    odd.symlink_to(sys.executable)
    wait = "import sys; print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen([odd, "-S", "-c", wait], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        ours, theirs = int(dist._started_at(os.getpid())), int(dist._started_at(process.pid))
        assert ours < theirs


@pytest.mark.dist
@pytest.mark.slow
def test_restarted_processes_meet_each_other_and_not_the_dead(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(DIES_TWICE)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts=2", "--nproc-per-node=2"]
    ids = set()
    for _ in range(3):
        assert subprocess.run([*torchrun, "program.py"], cwd=tmp_path, timeout=200).returncode == 0
        said = [
            (tmp_path / f"{attempt}.{rank}").read_text().split(maxsplit=1) for attempt in range(3) for rank in (0, 1)
        ]
        assert [total for total, _ in said] == ["2.0"] * 6
        (launch,) = {launch for _, launch in said}
        ids.add(launch)
    assert len(ids) == 3


def test_of_processes_that_meet_one_error_before_they_have_met_one_says_it(launched: pytest.MonkeyPatch) -> None:
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    assert dist.is_first_to_say("alone")
    assert dist.is_first_to_say("alone")
    launched.setenv("SHELFMARK_STORE", f"127.0.0.1:{server.port}")
    launched.setenv("WORLD_SIZE", "2")
    told = []
    for rank in ("1", "0"):
        launched.setenv("RANK", rank)
        told += [(rank, text) for text in ("a", f"own {rank}") if dist.is_first_to_say(text)]
    assert told == [("1", "a"), ("1", "own 1"), ("0", "own 0")]
    # The process that first said it may ask again.
    launched.setenv("RANK", "1")
    assert dist.is_first_to_say("a")
