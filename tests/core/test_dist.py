from __future__ import annotations

from typing import Any

import pytest
import torch
from two_processes import on_two_processes

from shelfmark.core import dist
from shelfmark.core.errors import UserError

COEFFICIENTS = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)


def key_gradient(num_rows: int, first: int) -> dict[str, Any]:
    """Each rank's part is another function of all rows."""
    rows = torch.arange(first, first + num_rows, dtype=torch.float64)[:, None].repeat(1, 2).requires_grad_()
    keys, first_row = dist.gather_keys(rows)
    # Transposed on one rank alone: its gradient comes in another layout.
    powers = (keys.T if dist.rank() else keys) ** (dist.rank() + 2)
    total = dist.sum_of_parts(powers.sum())
    total.backward()
    return {"value": total.item(), "first_row": first_row, "gradient": rows.grad.tolist()}


def key_gradients() -> list[dict[str, Any]]:
    return [key_gradient(2 + dist.rank(), first=1 + 2 * dist.rank()), key_gradient(5 * dist.rank(), first=1)]


def reduce_scatter(own: torch.Tensor, parts: list[torch.Tensor]) -> None:
    own.copy_(dist.sum_over_ranks(torch.stack(parts))[dist.rank()])


def of_equal_shares() -> list[Any]:
    calls, all_gather = [], torch.distributed.all_gather
    torch.distributed.all_gather = lambda *given: calls.append(1) or all_gather(*given)
    even = torch.arange(6.0).reshape(2, 3).T.clone() if dist.rank() else torch.ones(2, 3).T
    with dist.equal_shares():
        keys, first_row = dist.gather_keys(even)
        in_one_call = [dist.gather_rows(even).tolist(), [keys.tolist(), first_row]]
        num_calls = len(calls)
    asking_first = dist.gather_rows(even).tolist()
    torch.distributed.all_gather = all_gather
    return [in_one_call, num_calls, asking_first, len(calls) - num_calls]


def notes() -> dict[str, Any]:
    """What one of two processes finds."""
    rank = dist.rank()
    weight = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    rows = torch.tensor([[1.0], [2.0]] if rank == 0 else [[3.0], [4.0], [5.0]], dtype=torch.float64)
    gathered = dist.gather_rows(rows * weight)
    (COEFFICIENTS * gathered[:, 0] ** 2).sum().backward()
    keys, even = key_gradients(), of_equal_shares()
    torch.distributed.get_backend, torch.distributed.reduce_scatter = lambda: "nccl", reduce_scatter
    given = torch.full((2,), rank + 1)
    return {
        "rank": rank,
        "world_size": dist.world_size(),
        "is_main": dist.is_main(),
        "gathered": gathered.tolist(),
        "gradient": weight.grad.item(),
        "empty_on_rank_0": dist.gather_rows(torch.ones(rank, 2, dtype=torch.int64)).tolist(),
        "sum": dist.sum_over_ranks(given).tolist(),
        "given": given.tolist(),
        "keys": keys,
        "keys_by_nccl": key_gradients(),
        "even": even,
        "transposed_sum": dist.sum_over_ranks(torch.arange(6.0).reshape(2, 3).T if rank else torch.ones(3, 2)).tolist(),
        "objects": dist.gather_objects({"rank": rank}),
        "broadcast": dist.broadcast_object(f"from rank {rank}"),
    }


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return on_two_processes(notes, tmp_path_factory.mktemp("two"))


@pytest.mark.dist
def test_each_process_knows_its_place(found):
    assert [(one["rank"], one["world_size"], one["is_main"]) for one in found] == [(0, 2, True), (1, 2, False)]


@pytest.mark.dist
def test_ragged_rows_are_gathered_in_rank_order(found):
    for one in found:
        assert one["gathered"] == [[3.0], [6.0], [9.0], [12.0], [15.0]]
        assert one["empty_on_rank_0"] == [[1, 1]]


@pytest.mark.dist
def test_the_mean_gradient_over_ranks_is_that_of_one_process(found):
    weight = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    rows = torch.arange(1, 6, dtype=torch.float64)
    (rows * (rows * weight) ** 2).sum().backward()
    assert weight.grad is not None
    mean = sum(one["gradient"] for one in found) / 2
    assert mean == pytest.approx(weight.grad.item(), rel=1e-12)


@pytest.mark.dist
@pytest.mark.parametrize("road", ["keys", "keys_by_nccl"])
def test_keys_gather_the_gradients_of_every_ranks_part(found, road):
    rows = torch.arange(1, 6, dtype=torch.float64)[:, None].repeat(1, 2).requires_grad_()
    total = (rows**2).sum() + (rows**3).sum()
    total.backward()
    assert rows.grad is not None
    for one in found:
        ragged, empty_on_rank_0 = one[road]
        assert ragged["value"] == empty_on_rank_0["value"] == total.item()
        assert (ragged["first_row"], empty_on_rank_0["first_row"]) == (2 * one["rank"], 0)
        # Twice, because parameters' gradients are averaged over two ranks afterwards.
        assert ragged["gradient"] == (2 * rows.grad.split([2, 3])[one["rank"]]).tolist()
        assert empty_on_rank_0["gradient"] == (2 * rows.grad.split([0, 5])[one["rank"]]).tolist()


@pytest.mark.dist
def test_shares_that_are_known_to_be_equal_travel_in_one_call_and_are_the_same(found):
    for one in found:
        (rows, (keys, first_row)), num_calls, asking_first, num_calls_asking = one["even"]
        assert rows == keys == asking_first == [[1.0, 1.0]] * 3 + [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
        assert first_row == 3 * one["rank"]
        assert num_calls == 2
        assert num_calls_asking == 2


@pytest.mark.dist
def test_sums_objects_and_broadcasts_reach_every_rank(found):
    for one in found:
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
