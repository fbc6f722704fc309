from __future__ import annotations

import os
import sys
from collections.abc import Callable

import pytest
import torch

from shelfmark.core import lineage
from shelfmark.core.errors import UserError
from shelfmark.parallel import launch
from shelfmark.parallel.launch import relaunch


class FakeRanks:
    """Stands for the processes that would be started."""

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.command: list[str] = []
        self.env: dict[str, str] = {}
        self.number = 0

    def __call__(self, command: list[str], environment: dict[str, str], num_processes: int) -> int:
        self.command, self.env, self.number = command, environment, num_processes
        return self.status


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeRanks]:
    """A machine with so many GPUs, where starting a program only notes what would be started."""
    names = ("WORLD_SIZE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "SHELFMARK_PARENT", "TORCHELASTIC_RUN_ID")
    for name in names:
        # Set first, so that what the program sets itself is undone as well.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "argv", ["main.py"])
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(9), raising=False)

    def build(num_gpus: int, status: int = 0) -> FakeRanks:
        fake = FakeRanks(status)
        monkeypatch.setattr(launch, "run_ranks", fake)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
        return fake

    return build


def error_of(**asked: object) -> str:
    with pytest.raises(UserError) as caught:
        relaunch([], **asked)  # type: ignore[arg-type]
    return str(caught.value)


def test_without_a_wish_this_process_goes_on(machine):
    fake = machine(2)
    assert relaunch(["x"]) is None
    assert fake.command == []
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_several_gpus_start_the_program_again_with_its_arguments(machine):
    fake = machine(4)
    assert relaunch(["--gpu_ids", "0,2", "optim.lr=1"], gpu_ids="0,2") == 0
    assert fake.command == [sys.executable, "main.py", "--gpu_ids", "0,2", "optim.lr=1"]
    assert fake.number == 2
    assert fake.env["CUDA_VISIBLE_DEVICES"] == "0,2"


def test_the_arguments_are_this_programs_own_where_none_are_given(machine, monkeypatch):
    fake = machine(2)
    monkeypatch.setattr(sys, "argv", ["main.py", "--num-gpus", "2"])
    relaunch(num_processes=2)
    assert fake.command[-3:] == ["main.py", "--num-gpus", "2"]


def test_a_number_of_gpus_takes_the_first_ones(machine):
    fake = machine(4)
    assert relaunch([], num_processes=3) == 0
    assert fake.number == 3
    assert fake.env["CUDA_VISIBLE_DEVICES"] == "0,1,2"


def test_ids_count_among_the_gpus_that_are_visible(machine, monkeypatch):
    fake = machine(2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-abc")
    relaunch([], gpu_ids="1,0")
    assert fake.env["CUDA_VISIBLE_DEVICES"] == "GPU-abc,5"


@pytest.mark.parametrize("asked", [{"gpu_ids": "1"}, {"num_processes": 1}])
def test_one_gpu_is_chosen_in_the_environment_and_nothing_is_started(machine, asked):
    fake = machine(2)
    assert relaunch([], **asked) is None
    assert fake.command == []
    assert os.environ["CUDA_VISIBLE_DEVICES"] == asked.get("gpu_ids", "0")


def test_without_gpus_the_processes_share_the_cpu_and_it_is_said(machine, caplog):
    fake = machine(0)
    assert relaunch([], num_processes=2) == 0
    assert fake.number == 2
    assert "CUDA_VISIBLE_DEVICES" not in fake.env
    assert caplog.messages == ["This machine has no GPU: 2 processes share the CPU."]


def test_without_gpus_one_process_says_that_it_uses_the_cpu(machine, caplog):
    machine(0)
    assert relaunch([], num_processes=1) is None
    assert caplog.messages == ["This machine has no GPU: one process uses the CPU."]


@pytest.mark.parametrize("ids", ["0", "0,3"])
def test_who_names_gpus_gets_no_cpu(machine, ids):
    fake = machine(0)
    with pytest.raises(UserError, match=f"^--gpu_ids {ids}: PyTorch finds no GPU here.*train.device=auto"):
        relaunch([], gpu_ids=ids)
    assert fake.command == []


@pytest.mark.parametrize(("set_by", "ends"), [("SHELFMARK_PARENT", [4321]), ("TORCHELASTIC_RUN_ID", [None]), ("", [])])
def test_a_started_process_starts_nothing_and_ends_with_its_launcher(machine, monkeypatch, set_by, ends):
    fake, ended = machine(1), []
    monkeypatch.setattr(lineage, "end_with_parent", lambda parent=None: ended.append(parent))
    monkeypatch.setenv("WORLD_SIZE", "4")
    if set_by:
        monkeypatch.setenv(set_by, "4321")
    assert relaunch([], gpu_ids="0,1,2,3") is None
    assert fake.command == []
    assert ended == ends
    # A program that the process starts is no part of the run.
    assert "SHELFMARK_PARENT" not in os.environ


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"gpu_ids": "0,2"}, "--gpu_ids 0,2: there are 2 GPUs here (ids 0, 1)."),
        ({"num_processes": 3}, "--num-gpus 3: there are 2 GPUs here (ids 0, 1)."),
        ({"num_processes": 0}, "--num-gpus 0: the number must be at least 1."),
        ({"num_processes": -2}, "--num-gpus -2: the number must be at least 1."),
        ({"gpu_ids": "0,0"}, "--gpu_ids 0,0: each GPU can be named once."),
        ({"gpu_ids": "0,-1"}, "--gpu_ids 0,-1: give the GPUs' numbers with commas between, as in 0,1."),
        ({"gpu_ids": "0,"}, "--gpu_ids 0,: give the GPUs' numbers"),
        ({"gpu_ids": "cuda:0"}, "--gpu_ids cuda:0: give the GPUs' numbers"),
        ({"gpu_ids": ""}, "To train without a GPU leave the flag out and set train.device=cpu."),
        ({"gpu_ids": "0", "num_processes": 1}, "--gpu_ids and --num-gpus say the same thing; give one of them."),
    ],
)
def test_what_cannot_be_started_says_why(machine, asked, said):
    fake = machine(2)
    assert said in error_of(**asked)
    assert fake.command == []


@pytest.mark.parametrize(
    ("started", "program"),
    [
        ("tools/main.py", ["tools/main.py"]),
        ("/env/bin/shelfmark", ["-m", "shelfmark"]),
        ("/lib/shelfmark/__main__.py", ["-m", "shelfmark"]),
    ],
)
def test_a_script_starts_as_itself_and_the_command_as_the_package(machine, monkeypatch, started, program):
    fake = machine(2)
    monkeypatch.setattr(sys, "argv", [started, "train"])
    relaunch(["train"], num_processes=2)
    assert fake.command[1:] == [*program, "train"]


def test_the_cores_are_shared_out_unless_the_user_did(machine, monkeypatch):
    fake = machine(2)
    relaunch([], num_processes=2)
    assert fake.env["OMP_NUM_THREADS"] == "4"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    relaunch([], num_processes=2)
    assert fake.env["OMP_NUM_THREADS"] == "7"


def test_the_exit_status_comes_back(machine):
    machine(2, status=75)
    assert relaunch([], num_processes=2) == 75
