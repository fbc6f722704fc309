"""How long a command takes before it answers: CPU seconds of user and system, the median of five runs of each.

    make bench-commands [OLD=commit]

OLD: another commit, measured in the same loop and by the same Python, in a worktree that is removed at the end.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

from checkouts import ROOT, checkouts_with

CHECKPOINT = str(ROOT / "tests" / "version_0_1_0" / "run" / "last")
COMMANDS = {
    "`import torch` alone": None,
    "a mistyped command": ["trian"],
    "--help": ["--help"],
    "--help of a command": ["train", "--help"],
    "a mistyped flag": ["train", "--base_lr", "0.1"],
    "no such config": ["train", "--config", "nowhere.yaml"],
    "no such checkpoint": ["evaluate", "--RESUME_MODEL", "log/nowhere/last"],
    "no such index": ["search", "--index", "nowhere", "photo.jpg"],
    "no such annotations": ["clean", "--RESUME_MODEL", CHECKPOINT, "--annotations", "nowhere.json"],
    "a mistyped option": ["config", "optim.lrr=0.1"],
    "a wrong value": ["train", "optim.name=sdg"],
    "a wrong option of a checkpoint": ["evaluate", "--RESUME_MODEL", CHECKPOINT, "optim.lrr=0.1"],
    "the whole config": ["config"],
    "one option": ["config", "--describe", "optim.lr"],
}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", nargs="?", help="commit to compare with")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with checkouts_with(options.old) as checkouts:
        print(f"CPU seconds, median of {options.runs} runs\n")
        print(f"| | {' | '.join(checkouts)} |\n|---|{'---|' * len(checkouts)}")
        for what, argv in COMMANDS.items():
            seconds = _medians(argv, list(checkouts.values()), options.runs)
            print(f"| {what} | {' | '.join(f'{one:.2f}' for one in seconds)} |", flush=True)


def _medians(argv: list[str] | None, checkouts: list[Path], num_runs: int) -> list[float]:
    """Of each checkout, which take turns, so that what else the machine does meets them alike."""
    found: list[list[float]] = [[] for _ in checkouts]
    for _ in range(num_runs):
        for seconds, checkout in zip(found, checkouts):
            seconds.append(_cpu_s(argv, checkout))
    return [statistics.median(seconds) for seconds in found]


def _cpu_s(argv: list[str] | None, checkout: Path) -> float:
    what = ["-c", "import torch"] if argv is None else ["-m", "shelfmark", *argv]
    environment = {**os.environ, "PYTHONPATH": str(checkout / "lib")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *what], cwd=checkout, env=environment, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
