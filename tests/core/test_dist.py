from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from shelfmark.core import dist
from shelfmark.core.errors import UserError

# A program as a user would start it: once. It starts itself again as two processes, which compare notes.
PROGRAM = """
import json, os, sys
from pathlib import Path

from shelfmark.parallel.launch import relaunch

status = relaunch(num_processes=2)
if status is not None:
    sys.exit(status)

import torch
from shelfmark.core import dist
from shelfmark.core.log import say

COEFFICIENTS = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)

with dist.process_group(torch.device("cpu")):
    rank = dist.rank()
    say(f"said by rank {rank}")
    weight = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    rows = torch.tensor([[1.0], [2.0]] if rank == 0 else [[3.0], [4.0], [5.0]], dtype=torch.float64)
    gathered = dist.gather_rows(rows * weight)
    (COEFFICIENTS * gathered[:, 0] ** 2).sum().backward()

    def key_gradient(num_rows, first):
        # Each rank's part is another function of all rows.
        rows = torch.arange(first, first + num_rows, dtype=torch.float64)[:, None].repeat(1, 2).requires_grad_()
        keys, first_row = dist.gather_keys(rows)
        # Transposed on one rank alone: its gradient comes in another layout.
        powers = (keys.T if rank else keys) ** (rank + 2)
        total = dist.sum_of_parts(powers.sum())
        total.backward()
        return {"value": total.item(), "first_row": first_row, "gradient": rows.grad.tolist()}

    def reduce_scatter(own, parts):
        own.copy_(dist.sum_over_ranks(torch.stack(parts))[rank])

    def key_gradients():
        return [key_gradient(2 + rank, first=1 + 2 * rank), key_gradient(5 * rank, first=1)]

    keys = key_gradients()
    with dist.equal_shares():
        calls, all_gather = [], torch.distributed.all_gather
        torch.distributed.all_gather = lambda *given: calls.append(1) or all_gather(*given)
        even = torch.arange(6.0).reshape(2, 3).T.clone() if rank else torch.ones(2, 3).T
        in_one_call = [dist.gather_rows(even).tolist(), [part.tolist() if torch.is_tensor(part) else part
                       for part in dist.gather_keys(even)]]
        num_calls = len(calls)
    asking_first = dist.gather_rows(even).tolist()
    num_calls_asking = len(calls) - num_calls
    torch.distributed.all_gather = all_gather
    torch.distributed.get_backend, torch.distributed.reduce_scatter = lambda: "nccl", reduce_scatter
    keys_by_nccl = key_gradients()
    given = torch.full((2,), rank + 1)
    found = {
        "rank": rank,
        "argv": sys.argv[1:],
        "threads": os.environ["OMP_NUM_THREADS"],
        "world_size": dist.world_size(),
        "is_main": dist.is_main(),
        "gathered": gathered.tolist(),
        "gradient": weight.grad.item(),
        "empty_on_rank_0": dist.gather_rows(torch.ones(rank, 2, dtype=torch.int64)).tolist(),
        "sum": dist.sum_over_ranks(given).tolist(),
        "given": given.tolist(),
        "keys": keys,
        "keys_by_nccl": keys_by_nccl,
        "even": [in_one_call, num_calls, asking_first, num_calls_asking],
        "transposed_sum": dist.sum_over_ranks(torch.arange(6.0).reshape(2, 3).T if rank else torch.ones(3, 2)).tolist(),
        "objects": dist.gather_objects({"rank": rank}),
        "broadcast": dist.broadcast_object(f"from rank {rank}"),
    }
    dist.barrier()
Path(sys.argv[1], f"{rank}.json").write_text(json.dumps(found))
sys.exit(3 if "fail" in sys.argv else 0)
"""


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict], str]:
    """What each of two processes found, and what the program printed."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "program.py").write_text(PROGRAM)
    environment = {name: value for name, value in os.environ.items() if name not in ("WORLD_SIZE", "OMP_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "program.py", str(folder), "--key", "a b"],
        cwd=folder,
        env={**environment, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in (0, 1)], done.stdout


@pytest.mark.dist
def test_a_program_starts_itself_again_as_two_processes_with_its_arguments(two_processes):
    found, printed = two_processes
    assert [one["rank"] for one in found] == [0, 1]
    assert [one["world_size"] for one in found] == [2, 2]
    assert [one["is_main"] for one in found] == [True, False]
    assert all(one["argv"][1:] == ["--key", "a b"] for one in found)
    assert all(int(one["threads"]) >= 1 for one in found)
    assert printed.splitlines() == ["This machine has no GPU: 2 processes share the CPU.", "said by rank 0"]


@pytest.mark.dist
def test_ragged_rows_are_gathered_in_rank_order(two_processes):
    for one in two_processes[0]:
        assert one["gathered"] == [[3.0], [6.0], [9.0], [12.0], [15.0]]
        assert one["empty_on_rank_0"] == [[1, 1]]


@pytest.mark.dist
def test_the_mean_gradient_over_ranks_is_that_of_one_process(two_processes):
    weight = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    rows = torch.arange(1, 6, dtype=torch.float64)
    (rows * (rows * weight) ** 2).sum().backward()
    assert weight.grad is not None
    mean = sum(one["gradient"] for one in two_processes[0]) / 2
    assert mean == pytest.approx(weight.grad.item(), rel=1e-12)


@pytest.mark.dist
@pytest.mark.parametrize("road", ["keys", "keys_by_nccl"])
def test_keys_gather_the_gradients_of_every_ranks_part(two_processes, road):
    rows = torch.arange(1, 6, dtype=torch.float64)[:, None].repeat(1, 2).requires_grad_()
    total = (rows**2).sum() + (rows**3).sum()
    total.backward()
    assert rows.grad is not None
    for one in two_processes[0]:
        ragged, empty_on_rank_0 = one[road]
        assert ragged["value"] == empty_on_rank_0["value"] == total.item()
        assert (ragged["first_row"], empty_on_rank_0["first_row"]) == (2 * one["rank"], 0)
        # Twice, because parameters' gradients are averaged over two ranks afterwards.
        assert ragged["gradient"] == (2 * rows.grad.split([2, 3])[one["rank"]]).tolist()
        assert empty_on_rank_0["gradient"] == (2 * rows.grad.split([0, 5])[one["rank"]]).tolist()


@pytest.mark.dist
def test_shares_that_are_known_to_be_equal_travel_in_one_call_and_are_the_same(two_processes):
    for one in two_processes[0]:
        (rows, (keys, first_row)), num_calls, asking_first, num_calls_asking = one["even"]
        assert rows == keys == asking_first == [[1.0, 1.0]] * 3 + [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
        assert first_row == 3 * one["rank"]
        assert num_calls == 2
        assert num_calls_asking == 2


@pytest.mark.dist
def test_sums_objects_and_broadcasts_reach_every_rank(two_processes):
    for one in two_processes[0]:
        assert one["sum"] == [3, 3]
        assert one["given"] == [one["rank"] + 1] * 2
        assert one["transposed_sum"] == [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]
        assert one["objects"] == [{"rank": 0}, {"rank": 1}]
        assert one["broadcast"] == "from rank 0"


def test_one_process_needs_no_group():
    rows = torch.ones(2, 3, requires_grad=True)
    with dist.process_group(torch.device("cpu")):
        assert (dist.rank(), dist.world_size(), dist.is_main()) == (0, 1, True)
        assert dist.gather_rows(rows) is rows
        assert dist.gather_keys(rows) == (rows, 0)
        assert dist.sum_over_ranks(rows) is rows
        assert dist.sum_of_parts(rows) is rows
        assert dist.gather_objects("a") == ["a"]
        assert dist.broadcast_object("a") == "a"
        dist.barrier()


def test_the_device_is_the_one_asked_for():
    assert dist.local_device("cpu") == torch.device("cpu")


def test_a_rank_gets_its_own_gpu(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert dist.local_device("auto") == dist.local_device("cuda") == torch.device("cuda", 3)


def test_without_a_gpu_the_device_is_the_cpu_and_cuda_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert dist.local_device() == torch.device("cpu")
    with pytest.raises(UserError, match=r"^train\.device=cuda, but there is no GPU"):
        dist.local_device("cuda")
