"""Whole commands in processes of their own, without the seconds in which a new interpreter imports torch."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
from run_fixtures import leave_out_figures

from shelfmark.cli import main


def started(
    command: str, words: list[str], folder: Path, said: Path, environment: Mapping[str, str]
) -> ForkServerProcess:
    """The command, begun in `folder` in a fork of a process that has torch and has done nothing else.

    said: file for what it prints. environment: in addition to this process's.
    """
    multiprocessing.set_forkserver_preload(["shelfmark.pipelines.train", "shelfmark.losses", "shelfmark.models"])
    process = multiprocessing.get_context("forkserver").Process(
        target=_run, args=(command, words, folder, said, environment)
    )
    process.start()
    return process


def on_two_ranks(command: str, words: list[str], folder: Path) -> str:
    """Runs the command as torchrun runs it on two processes; what both printed, the first process before the other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    printed = {rank: folder / f"said_{rank}.txt" for rank in "01"}
    ranks = {
        rank: started(command, words, folder, said, {**place, "RANK": rank, "LOCAL_RANK": rank})
        for rank, said in printed.items()
    }
    try:
        for rank, process in ranks.items():
            process.join(300)
            assert process.exitcode == 0, printed[rank].read_text()
    finally:
        for process in ranks.values():
            process.kill()
    return "".join(said.read_text() for said in printed.values())


def _run(command: str, words: list[str], folder: Path, said: Path, environment: Mapping[str, str]) -> None:
    """A whole program in a process of a group of its own, as a shell starts it."""
    os.environ.update(environment)
    os.setsid()
    file = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.chdir(folder)
    sys.argv = ["main.py", *words]
    leave_out_figures(pytest.MonkeyPatch())
    sys.exit(main([command, *words]))
