"""The same program again, once a GPU: `--gpu_ids 0,1` and `--num-gpus N` without typing torchrun."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from shelfmark.core.cores import num_cores
from shelfmark.core.errors import UserError
from shelfmark.core.lineage import end_with_launcher
from shelfmark.core.log import say
from shelfmark.parallel.ranks import run_ranks


def relaunch(
    argv: Sequence[str] | None = None, *, gpu_ids: str | None = None, num_processes: int | None = None
) -> int | None:
    """Runs this program again, once a GPU, and returns the exit status; None where the calling process should go on.

    None comes where one process is enough, and in a process that this function or torchrun started, which from here on
    ends with its parent. argv: the arguments behind the program's name, sys.argv's by default. gpu_ids: `0,1`, counted
    among the GPUs that CUDA_VISIBLE_DEVICES leaves visible. A single GPU is chosen through the environment, so call
    this before anything touches CUDA. Without GPUs the processes of num_processes train on the CPU. UserError: both
    options are given, an id is bad, or there are fewer GPUs. For the exit status see `run_ranks`.
    """
    if "WORLD_SIZE" in os.environ:
        end_with_launcher()
        return None
    ids = _gpu_ids(gpu_ids, num_processes, torch.cuda.device_count())
    if ids is None:
        return None
    environment = dict(os.environ)
    if torch.cuda.device_count():
        os.environ["CUDA_VISIBLE_DEVICES"] = environment["CUDA_VISIBLE_DEVICES"] = _visible(ids)
    else:
        workers = f"{len(ids)} processes share" if len(ids) > 1 else "one process uses"
        say(f"This machine has no GPU: {workers} the CPU.")
    if len(ids) == 1:
        return None
    # Each process would use all cores.
    environment.setdefault("OMP_NUM_THREADS", str(max(1, num_cores() // len(ids))))
    command = [sys.executable, *_program(), *(sys.argv[1:] if argv is None else argv)]
    return run_ranks(command, environment, len(ids))


def num_processes_of(*, gpu_ids: str | None, num_processes: int | None) -> int:
    """How many processes the options ask for; 1 for neither. UserError: as of `relaunch`, which says the rest."""
    ids = _gpu_ids(gpu_ids, num_processes, torch.cuda.device_count())
    return 1 if ids is None else len(ids)


def _gpu_ids(gpu_ids: str | None, num_gpus: int | None, present: int) -> list[int] | None:
    """The GPUs asked for, checked; None where neither option was given."""
    if gpu_ids is not None and num_gpus is not None:
        raise UserError("--gpu_ids and --num-gpus say the same thing; give one of them.")
    if gpu_ids is None and num_gpus is None:
        return None
    if gpu_ids is not None:
        asked, ids = f"--gpu_ids {gpu_ids}", _parsed_ids(gpu_ids)
    else:
        asked, ids = f"--num-gpus {num_gpus}", list(range(num_gpus or 0))
        if not ids:
            raise UserError(f"{asked}: the number must be at least 1.")
    if not present and gpu_ids is not None:
        built = "" if torch.version.cuda else ", and this PyTorch is built for CPUs alone"
        raise UserError(
            f"{asked}: PyTorch finds no GPU here{built}. On a CPU a training may take days, so it does not begin by"
            " itself: leave the flag out to take what is there (train.device=auto)."
        )
    if present and max(ids) >= present:
        names = ", ".join(map(str, range(present)))
        raise UserError(f"{asked}: there are {present} GPUs here (ids {names}).")
    return ids


def _parsed_ids(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UserError(
            f"--gpu_ids {text}: give the GPUs' numbers with commas between, as in 0,1. "
            "To train without a GPU leave the flag out and set train.device=cpu."
        )
    ids = [int(part) for part in parts]
    if len(set(ids)) < len(ids):
        raise UserError(f"--gpu_ids {text}: each GPU can be named once.")
    return ids


def _visible(ids: Sequence[int]) -> str:
    """CUDA_VISIBLE_DEVICES for some of the GPUs that are visible now."""
    now = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return ",".join(now[index] if now else str(index) for index in ids)


def _program() -> list[str]:
    """This program, for Python: the script that was started, or the package for `shelfmark` and `-m`."""
    script = Path(sys.argv[0])
    if script.suffix == ".py" and script.name != "__main__.py":
        return [str(script)]
    return ["-m", "shelfmark"]
