"""The processes of one run, with small scripts in their place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shelfmark.parallel.ranks import INTERRUPTED, PREEMPTED, run_ranks

# Says when it is ready; ends well once it has heard a signal and saved, and tells which ones it heard.
SAVES = """
import os, signal, sys, time
rank, heard = os.environ["RANK"], []
for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGINT"):
    signal.signal(getattr(signal, name), lambda number, _: heard.append(number))
open(f"ready{rank}", "w").close()
while not heard:
    time.sleep(0.01)
time.sleep(0.4)
print(*heard, sep=",", file=open(f"heard{rank}", "w"))
"""
# Hears no signal, and never ends.
HANGS = """
import os, signal, time
for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGINT"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
open("ready" + os.environ["RANK"], "w").close()
time.sleep(600)
"""
KILLED = "warning: process 0 was ended by SIGKILL (the system does so when memory runs out); the others end too."
FIRST_ENDS_OTHER_HANGS = "import os\nif os.environ['RANK'] == '0':\n    {end}\n" + HANGS


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(script: str, during: Callable[[], None] = lambda: None, **limits: float) -> int:
    """The status of two processes of the script; `during` happens once both are ready."""

    def wait_and_act() -> None:
        while not (Path("ready0").exists() and Path("ready1").exists()):
            time.sleep(0.01)
        during()

    threading.Thread(target=wait_and_act, daemon=True).start()
    return run_ranks([sys.executable, "-S", "-c", script], dict(os.environ), 2, **limits)


def send(*numbers: int, pause_s: float = 0.1) -> Callable[[], None]:
    def act() -> None:
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(pause_s)

    return act


def test_the_processes_know_their_place_and_end_well() -> None:
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR")
    script = f"import os; open(os.environ['RANK'], 'w').write(' '.join(os.environ[name] for name in {names}))"
    assert run(script) == 0
    assert Path("0").read_text() == "0 0 2 2 127.0.0.1"
    assert Path("1").read_text() == "1 1 2 2 127.0.0.1"


@contextmanager
def heeded(number: int) -> Iterator[None]:
    """The tests may have been started where a signal is ignored: SIGHUP by nohup, SIGINT in the background."""
    outside = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(number, outside)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGINT"])
def test_a_signal_reaches_each_process_once_though_it_came_twice_and_its_status_says_which(name: str) -> None:
    number = getattr(signal, name)
    with heeded(number):
        assert run(SAVES, send(number, number)) == (INTERRUPTED if name == "SIGINT" else PREEMPTED)
        assert [Path(f"heard{rank}").read_text().split() for rank in (0, 1)] == [[str(int(number))]] * 2
        assert signal.getsignal(number) is signal.default_int_handler


def test_a_signal_that_is_ignored_here_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(SAVES, send(signal.SIGHUP, signal.SIGUSR1)) == PREEMPTED
    finally:
        signal.signal(signal.SIGHUP, before)
    assert Path("heard0").read_text().split() == [str(int(signal.SIGUSR1))]


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        ("raise SystemExit(3)", 3, []),
        ("os.kill(os.getpid(), 9)", 137, [KILLED]),
        ("raise SystemExit(2)", 2, []),
    ],
)
def test_where_one_fails_the_others_end_and_its_status_is_that_of_the_run(
    end: str, status: int, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    began = time.monotonic()
    assert run(FIRST_ENDS_OTHER_HANGS.format(end=end), following_s=0.2) == status
    assert time.monotonic() - began < 5
    assert caplog.messages == said


def test_one_that_does_not_end_in_time_after_a_signal_is_killed() -> None:
    assert run(HANGS, send(signal.SIGTERM), saving_s=0.2) == 128 + signal.SIGKILL


def test_the_third_interrupt_ends_at_once() -> None:
    with heeded(signal.SIGINT):
        assert run(HANGS, send(signal.SIGINT, signal.SIGINT, signal.SIGINT)) == 128 + signal.SIGKILL


# Starts two ranks, each of which has a process of its own, as a loader's worker is; all write down who they are.
LAUNCHER = """
import os, sys
from shelfmark.parallel.ranks import run_ranks

RANK = '''
import os, time
from shelfmark.core.lineage import end_with_launcher, end_with_parent
end_with_launcher()
parent = os.getpid()
if os.fork() == 0:
    end_with_parent(parent)
open(f"{os.getpid()}.pid", "w").close()
time.sleep(600)
'''
run_ranks([sys.executable, "-c", RANK], dict(os.environ), 2)
"""


@pytest.mark.dist
def test_a_killed_launcher_takes_all_its_processes_along(tmp_path: Path) -> None:
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER])
    try:
        wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 4, 60)
    finally:
        launcher.kill()
        launcher.wait()
    processes = [int(file.stem) for file in tmp_path.glob("*.pid")]
    wait_until(lambda: not any(is_alive(one) for one in processes), 10)


@pytest.mark.parametrize(
    "call",
    [
        "end_with_parent(parent=1)  # Another than is there: it ended before.",
        "lineage._is_told_by_the_system = lambda: False; end_with_parent(poll_s=0.05); before = os.getppid()\n"
        "os.getppid = lambda: before + 1; time.sleep(60)",
    ],
)
def test_a_process_ends_whose_parent_is_gone(call: str) -> None:
    script = f"import os, time\nfrom shelfmark.core import lineage\nfrom shelfmark.core.lineage import *\n{call}"
    assert subprocess.run([sys.executable, "-c", script], timeout=30).returncode == -signal.SIGKILL


def wait_until(is_so: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    try:
        # A zombie that nobody waits for has ended.
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
