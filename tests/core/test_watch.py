"""A run that does not go on, with two small processes in the place of training."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import timeit

import pytest

from shelfmark.core import heartbeat
from shelfmark.core.heartbeat import SignsOfWork, beat, pulse, working
from shelfmark.core.watch import STALLED, Watch

STALL_S = 1.0
# Each part of it is told apart by a line on stderr; the collectives' limit is shorter than the long work.
PROGRAM = f"""
import hashlib, os, signal, sys, threading, time
from datetime import timedelta
from shelfmark.parallel.launch import relaunch

status = relaunch(num_processes=2)
if status is not None:
    sys.exit(status)

import torch
from shelfmark.core import dist
from shelfmark.core.heartbeat import beat, working
from shelfmark.core.log import say
from shelfmark.core.watch import Watch

def part(name):
    dist.barrier()
    time.sleep(0.5)
    if dist.is_main():
        print("== " + name, file=sys.stderr, flush=True)
    dist.barrier()

def sleeps_in_the_step():
    time.sleep({STALL_S} + 2.5)

with dist.process_group(torch.device("cpu"), timeout=timedelta(seconds=6)):
    rank = dist.rank()
    say(f"{{rank}} {{sys.argv[1:]}} {{int(os.environ['OMP_NUM_THREADS']) >= 1}}")
    processes = dist.gather_objects(os.getpid())
    with Watch({STALL_S}, 0):
        part("long work")
        with working("report"):
            # One call into C, far longer than a collective may take.
            made = hashlib.pbkdf2_hmac("sha256", b"a", b"b", 100_000 * 60 * (1 - rank) + 1)
            seen = time.monotonic()
            while rank == 0 and time.monotonic() - seen < 4:
                pass
        dist.broadcast_object("made")

        part("late step")
        beat("step")
        if rank == 1:
            sleeps_in_the_step()
        dist.sum_over_ranks(torch.ones(1))

        part("stopped")
        beat("step")
        if rank == 0:
            threading.Timer({STALL_S} + 2.5, os.kill, (processes[1], signal.SIGCONT)).start()
        else:
            os.kill(os.getpid(), signal.SIGSTOP)
        dist.sum_over_ranks(torch.ones(1))
        part("main stopped")
        if rank == 1:
            threading.Timer({STALL_S} + 2.5, os.kill, (processes[0], signal.SIGCONT)).start()
        else:
            os.kill(os.getpid(), signal.SIGSTOP)
        dist.broadcast_object("on")
    part("limit")
    with Watch({STALL_S}, 2.0):
        if rank == 1:
            sleeps_in_the_step()
        dist.sum_over_ranks(torch.ones(1))
"""


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each part printed, under `status` how the run ended, and its stdout."""
    folder = tmp_path_factory.mktemp("watch")
    (folder / "program.py").write_text(PROGRAM)
    environment = {name: value for name, value in os.environ.items() if name not in ("WORLD_SIZE", "OMP_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "program.py", "--key", "a b"],
        cwd=folder,
        env={**environment, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=180,
    )
    (folder / "stderr.txt").write_text(done.stderr)
    parts = re.split(r"^== (.+)\n", done.stderr, flags=re.MULTILINE)
    return {**dict(zip(parts[1::2], parts[2::2])), "status": str(done.returncode), "stdout": done.stdout}


def described(text: str, rank: int) -> str:
    """What is said of a process, up to the next."""
    return re.split(r"\n(?=process|In \d|stalled)", text.partition(f"process {rank} ")[2])[0]


@pytest.mark.dist
def test_a_program_starts_itself_again_as_two_processes_with_its_arguments_and_the_first_speaks(
    printed: dict[str, str],
) -> None:
    said = ["This machine has no GPU: 2 processes share the CPU.", "0 ['--key', 'a b'] True"]
    assert printed["stdout"].splitlines() == said


@pytest.mark.dist
def test_long_work_of_the_first_process_outlives_the_limit_of_collectives_in_silence(printed: dict[str, str]) -> None:
    assert printed["long work"] == ""


@pytest.mark.dist
def test_the_process_that_stands_still_is_named_with_its_stack_and_so_is_the_one_that_waits(
    printed: dict[str, str],
) -> None:
    said = printed["late step"]
    age = re.match(r"stalled: the run has not gone on for (\d+) s \(train\.stall_s=1\)\.", said)
    assert age
    assert int(age[1]) <= STALL_S + 2
    assert described(said, 1).startswith("DOES NOT WAIT for another process: in phase step for")
    assert "sleeps_in_the_step" in described(said, 1)
    assert described(said, 0).startswith("waits for another process: in phase step for")
    assert "sum_over_ranks" in described(said, 0)
    assert said.count("has not gone on") == 1
    assert "stalled: the run goes on.\n" in said


@pytest.mark.dist
@pytest.mark.parametrize(("part", "stopped"), [("stopped", 1), ("main stopped", 0)])
def test_a_process_that_gives_no_sign_is_named_by_another(printed: dict[str, str], part: str, stopped: int) -> None:
    said = printed[part]
    assert described(said, stopped).startswith("DOES NOT ANSWER, since phase step: it was stopped")
    assert described(said, 1 - stopped).startswith("waits for another process")


@pytest.mark.dist
def test_at_the_limit_the_run_ends_with_a_status_and_a_message(printed: dict[str, str]) -> None:
    assert printed["status"] == str(STALLED)
    assert re.search(
        r"process \d ends, because the run has not gone on for \d s \(train\.stall_limit_s=2\)", printed["limit"]
    )


def test_one_process_is_not_watched_and_a_beat_costs_nothing() -> None:
    with Watch(0.01, 0.01) as watch:
        assert watch._thread is None
    assert min(timeit.repeat(lambda: beat("step"), number=1000, repeat=5)) / 1000 < 5e-6


def test_long_work_beats_and_goes_back_to_the_phase_before() -> None:
    beat("evaluation")
    pulse.at -= 1000
    with working("report"):
        assert pulse.phase == "report"
        assert pulse.working == 1
        assert pulse.age_s() < 100
    assert (pulse.phase, pulse.working) == ("evaluation", 0)


def test_a_main_thread_that_computes_or_moves_works_and_one_that_sleeps_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = {"computed": 0.0, "place": (1,)}
    monkeypatch.setattr(SignsOfWork, "_now", lambda self: (now["computed"], now["place"]))
    work = SignsOfWork()
    assert not work.seen()
    now["computed"] += heartbeat._LEAST_WORK_S / 2
    assert not work.seen()
    now["computed"] += heartbeat._LEAST_WORK_S
    assert work.seen()
    assert not work.seen()
    now["place"] = (2,)
    assert work.seen()
    assert not work.seen()
