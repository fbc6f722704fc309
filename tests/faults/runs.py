"""Training runs small enough to be killed by the hundred, and what of them has to be equal bit for bit."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from small_recipe import SMALL
from warm import CHECKOUT, Program, Warm, main_py

from shelfmark.engine.metrics_log import read_metrics

NAME = "x"
RECIPE = [*SMALL, f"name={NAME}", "train.steps_per_epoch=8", "eval.every_epochs=1"]
NUM_STEPS = 16
GONE_WITHIN_S = 30.0


@dataclass(frozen=True)
class Place:
    """A working folder for one run, `log/x`, of one or two processes; nothing else works in it."""

    folder: Path

    @classmethod
    def new(cls, folder: Path, shop: Path) -> Place:
        (folder / "dataset").mkdir(parents=True)
        (folder / "dataset" / "shop").symlink_to(shop)
        (folder / "configs").symlink_to(CHECKOUT / "configs")
        for name in ("val", "retrieval"):
            document = json.loads((shop / f"{name}.json").read_text())
            document["annotations"] = [one for one in document["annotations"] if one["category_id"] < 10]
            (folder / f"{name}_small.json").write_text(json.dumps(document))
        return cls(folder)

    @property
    def run(self) -> Path:
        return self.folder / "log" / NAME

    def steps(self) -> int:
        """The last step that the run has logged."""
        return max((record["step"] for record in read_metrics(self.run / "metrics.jsonl")), default=0)

    def processes(self) -> list[int]:
        """All processes that work here, whoever started them."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _works_in(pid, self.folder)]

    def kill_all(self) -> None:
        """SIGKILL to every process that works here."""
        for pid in self.processes():
            _kill(pid)

    def await_nobody(self) -> None:
        """Until the last process has gone by itself; one that stays fails the test."""
        deadline = time.monotonic() + GONE_WITHIN_S
        while left := self.processes():
            if time.monotonic() > deadline:
                self.kill_all()
                raise AssertionError(f"processes {left} still run {GONE_WITHIN_S:.0f} s after the kill")
            time.sleep(0.01)


def _works_in(pid: int, folder: Path) -> bool:
    try:
        # A zombie has no folder any more.
        return Path(os.readlink(f"/proc/{pid}/cwd")) == folder
    except OSError:
        return False


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True)
class Launch:
    """How a run is started. num_ranks: one or two. is_real: as a user types it, or forked from the warm process."""

    num_ranks: int = 1
    is_real: bool = False
    options: tuple[str, ...] = ()

    def start(self, warm: Warm, place: Place, resume: str | None = None) -> list[Program]:
        """The programs, the main one first. resume: the value of --RESUME_MODEL; `auto` wants the recipe too."""
        words = [] if resume is None else ["--RESUME_MODEL", resume]
        words += [*RECIPE, *self.options] if resume in (None, "auto") else []
        if self.is_real:
            return [
                main_py([*words, *(["--num-gpus", str(self.num_ranks)] if self.num_ranks > 1 else [])], place.folder)
            ]
        if self.num_ranks == 1:
            return [warm.shelfmark(["train", *words], place.folder)]
        port = str(_free_port())
        ranks = []
        for rank in range(self.num_ranks):
            env = {"WORLD_SIZE": str(self.num_ranks), "RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": port}
            ranks.append(warm.shelfmark(["train", *words], place.folder, env=env))
        return ranks

    def finish(self, warm: Warm, place: Place, resume: str | None = None) -> None:
        """Starts it and waits; every program must end with status 0."""
        for program in self.start(warm, place, resume):
            status = program.wait()
            assert status == 0, f"ended with {status}:\n{program.printed()[-3000:]}"
        place.await_nobody()


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return listening.getsockname()[1]


def go_on(place: Place, how: str) -> str | None:
    """The value of --RESUME_MODEL after a kill. how: `auto`, or `last` where there is one, else a run begun anew."""
    if how == "auto":
        return "auto"
    if (place.run / "last").is_dir() or (place.run / ".last.previous").is_dir():
        return f"log/{NAME}/last"
    shutil.rmtree(place.run, ignore_errors=True)
    return None
