"""Processes: one file knows whether there is one or many.

**The gradient rule.** A loss of the batch of all processes has the same value on each. DistributedDataParallel averages
the gradients that the processes find for a parameter. So each process backpropagates its own share of the loss times
the number of processes, and the average is the gradient that one process with the whole batch would find.
`gather_rows` keeps the rule where every process computes the whole loss from the rows of all. `sum_of_parts`, with
`gather_keys` for the rows that all parts look at, keeps it where the loss is a sum and each process computes a part.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import distributed_c10d

from shelfmark.core.errors import UserError
from shelfmark.core.heartbeat import beat, pulse
from shelfmark.core.stopping import LAUNCH

T = TypeVar("T")

STORE = "SHELFMARK_STORE"
"""The environment variable in which our launcher tells its processes host:port of the store."""
_MAIN_ARRIVED = "shelfmark/main arrived"
_RUN_ID = "TORCHELASTIC_RUN_ID"
_AGENT_STORE = "TORCHELASTIC_USE_AGENT_STORE"
_EQUAL_SHARES = ContextVar("equal shares", default=False)


def rank() -> int:
    """This process's number, 0 where there is one process."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process writes files and talks to the user."""
    return rank() == 0


def local_device(name: str = "auto") -> torch.device:
    """The device of this process: its own GPU under torchrun, else the first GPU, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        if not torch.cuda.is_available():
            raise UserError("train.device=cuda, but there is no GPU that torch can use; set train.device=auto or cpu.")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device(name)


@contextmanager
def process_group(device: torch.device, timeout: timedelta = timedelta(minutes=30)) -> Iterator[None]:
    """Joins the processes that our launcher or torchrun started (nccl on GPUs, gloo on CPUs). A lone process joins no
    group.

    timeout: after which a collective ends with an error.
    """
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1 or world_size() > 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store = store_of_this_attempt(timeout)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=store,
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
        timeout=timeout,
    )
    try:
        yield
    except UserError as error:
        error.is_told = not _says_it_first(store, str(error), str(rank()))
        raise
    finally:
        dist.destroy_process_group()


def is_first_to_say(text: str) -> bool:
    """Whether no other process of this launch has ended with this error text before.

    No process group is needed: errors of a command line are found before there is a group.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or not (STORE in os.environ or _AGENT_STORE in os.environ):
        return True
    try:
        store = store_of_this_attempt(timedelta(seconds=10))
    except (RuntimeError, OSError, ValueError):
        return True
    return _says_it_first(store, text, os.environ.get("RANK", "0"))


def _says_it_first(store: dist.Store, text: str, own: str) -> bool:
    """Whether this process, of rank `own`, is the first to end with this error text."""
    try:
        return store.compare_set(f"said/{hashlib.sha256(text.encode()).hexdigest()}", "", own).decode() == own
    except RuntimeError:
        # The process that held the store has ended.
        return True


def store_of_this_attempt(timeout: timedelta) -> dist.Store:
    """A new connection to the store of all processes. Keys that an earlier, dead attempt wrote are not seen."""
    if STORE in os.environ:
        host, _, port = os.environ[STORE].rpartition(":")
        store: dist.Store = dist.TCPStore(host, int(port), is_master=False, timeout=timeout)
    else:
        store, _, _ = next(dist.rendezvous("env://", timeout=timeout))
    # After a restart the agent's store still holds the addresses of the dead processes.
    return dist.PrefixStore(f"shelfmark/{os.environ.get(_RUN_ID, '')}/{restart_count()}", store)


def restart_count() -> int:
    """How often torchrun has restarted these processes (`--max-restarts`); 0 at first, and without torchrun."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def launch_id() -> str | None:
    """One text for all attempts of a launch, another for each launch; None where nothing can restart this process.

    The text names the program that started this process. Each machine has its own, so use that of rank 0.
    """
    if LAUNCH in os.environ:
        return os.environ[LAUNCH]
    if _RUN_ID not in os.environ:
        return None
    # torchrun's own id may be "none", or a job's number, which the job keeps when it is queued again.
    return "/".join([os.environ[_RUN_ID], platform.node(), _boot_id(), str(os.getppid()), _started_at(os.getppid())])


def _boot_id() -> str:
    file = Path("/proc/sys/kernel/random/boot_id")
    return file.read_text().strip() if file.exists() else ""


def _started_at(process: int) -> str:
    """When a process began, in the kernel's ticks since boot: process ids are used again."""
    file = Path(f"/proc/{process}/stat")
    # The second field is the name, in brackets, and may hold blanks and brackets.
    return file.read_text().rpartition(")")[2].split()[19] if file.exists() else ""


def wait_for_main() -> None:
    """Returns in every process once rank 0 has called this too, however long its work takes.

    A collective ends with an error after a timeout; this call has none. The launcher notices a dead rank 0, and
    `core.watch` one that hangs. All processes call it, or none.
    """
    if world_size() == 1:
        return
    store = distributed_c10d._get_default_store()
    beat(pulse.phase)
    if is_main():
        store.add(_MAIN_ARRIVED, 1)
        return
    number = store.add(f"{_MAIN_ARRIVED}/{rank()}", 1)
    pause_s = 0.001
    pulse.waits_for_main = True
    try:
        while store.add(_MAIN_ARRIVED, 0) < number:
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.25)
    finally:
        pulse.waits_for_main = False
    beat(pulse.phase)


def barrier() -> None:
    """Waits for all processes, for rank 0 without a time limit."""
    if world_size() > 1:
        wait_for_main()
        dist.barrier()


def broadcast_object(value: T) -> T:
    """Rank 0's value, on every rank. The wait for rank 0 has no time limit."""
    if world_size() == 1:
        return value
    wait_for_main()
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gather_objects(value: T) -> list[T]:
    """Every rank's value, on every rank, in rank order. The wait for rank 0 has no time limit."""
    if world_size() == 1:
        return [value]
    wait_for_main()
    box: list[Any] = [None] * world_size()
    dist.all_gather_object(box, value)
    return box


def any_of(flags: Sequence[Tensor | bool]) -> list[bool]:
    """For each flag, whether it is true on any rank; the same list on every rank. Tensors are 0-dim."""
    where = next((flag.device for flag in flags if isinstance(flag, Tensor)), collective_device())
    stacked = torch.stack([torch.as_tensor(flag, device=where).to(torch.int32) for flag in flags])
    if world_size() > 1:
        dist.all_reduce(stacked, dist.ReduceOp.MAX)
    return [bool(flag) for flag in stacked.tolist()]


def collective_device() -> torch.device:
    """The device of tensors for collectives: nccl takes those of the GPU alone."""
    if world_size() > 1 and dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def sum_over_ranks(value: Tensor) -> Tensor:
    """The sum of every rank's tensor (same shape everywhere), on every rank; no gradient."""
    if world_size() == 1:
        return value
    # Collectives add in the order of memory, and a gradient may be transposed on one rank alone.
    total = value.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


@contextmanager
def equal_shares() -> Iterator[None]:
    """In this block all ranks gather the same number of rows, so no gather has to exchange the numbers first.

    The caller promises it, as for training batches, which are divided evenly. If the numbers differ, a gather fails or
    hangs. Holds for the thread that enters the block.
    """
    token = _EQUAL_SHARES.set(True)
    try:
        yield
    finally:
        _EQUAL_SHARES.reset(token)


def gather_rows(value: Tensor) -> Tensor:
    """(N, ...) of every rank to (sum of N, ...), in rank order. N may differ between ranks, except in `equal_shares`.

    Every rank must compute the same scalar from the rows: see the gradient rule above.
    """
    return value if world_size() == 1 else _GatherRows.apply(value)


def gather_keys(value: Tensor) -> tuple[Tensor, int]:
    """(N, ...) of every rank to (sum of N, ...), in rank order, and the place where this rank's rows begin.

    Each rank must compute its own part of a sum, for `sum_of_parts`. The backward pass adds up, on each rank, the
    gradients of all parts by that rank's rows (reduce-scatter).
    """
    if world_size() == 1:
        return value, 0
    sizes = _sizes(value)
    return _GatherKeys.apply(value, sizes), sum(sizes[: rank()])


def sum_of_parts(part: Tensor) -> Tensor:
    """The sum of all ranks' parts, on every rank, 0-dim. Its gradient keeps the gradient rule above."""
    return part if world_size() == 1 else _SumOfParts.apply(part)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        sizes = _sizes(value)
        ctx.start, ctx.length = sum(sizes[: rank()]), len(value)
        return _gathered(value, sizes)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0][ctx.start : ctx.start + ctx.length] * world_size()


class _GatherKeys(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        return _gathered(value, sizes)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return _reduce_scattered(grad_outputs[0], ctx.sizes), None


class _SumOfParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        return sum_over_ranks(part)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0] * world_size()


def _sizes(value: Tensor) -> list[int]:
    """How many rows each rank's tensor has."""
    if _EQUAL_SHARES.get():
        return [len(value)] * world_size()
    counts = [torch.zeros(1, dtype=torch.int64, device=value.device) for _ in range(world_size())]
    dist.all_gather(counts, torch.tensor([len(value)], device=value.device))
    return torch.cat(counts).tolist()


def _gathered(value: Tensor, sizes: list[int]) -> Tensor:
    # Collectives want equal shapes: shorter parts are padded for the transfer.
    if min(sizes) == max(sizes):
        padded = value.contiguous()
    else:
        padded = value.new_zeros((max(sizes), *value.shape[1:]))
        padded[: len(value)] = value
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes)])


def _reduce_scattered(value: Tensor, sizes: list[int]) -> Tensor:
    """This rank's rows of the sum, over ranks, of their (sum of sizes, ...) tensors."""
    if dist.get_backend() != "nccl":
        # gloo has no reduce-scatter in every torch that we run on.
        return sum_over_ranks(value).split(sizes)[rank()]
    padded = value.new_zeros((len(sizes), max(sizes), *value.shape[1:]))
    for place, part in zip(padded, value.split(sizes)):
        place[: len(part)] = part
    own = torch.empty_like(padded[0])
    dist.reduce_scatter(own, list(padded))
    return own[: sizes[rank()]]
