"""Wraps a network so that all processes train it as one."""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from shelfmark.core import dist

# torch 2.13 gave the option another name.
_SYNC_BUFFERS = (
    "forward_sync_buffers"
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    else "broadcast_buffers"
)


def wrapped(network: nn.Module, device: torch.device) -> nn.Module:
    """The network within DistributedDataParallel; unwrapped where one process trains, or where no parameter learns."""
    if dist.world_size() == 1 or not any(parameter.requires_grad for parameter in network.parameters()):
        return network
    # Statistics are averaged over processes (`average_statistics`); broadcasting would take those of rank 0 each step.
    options: dict[str, Any] = {_SYNC_BUFFERS: False}
    return DistributedDataParallel(network, device_ids=[device.index] if device.type == "cuda" else None, **options)


def synchronised(network: nn.Module, now: bool) -> AbstractContextManager[None]:
    """A block for a forward and a backward pass of a `wrapped` network. Without `now` each process keeps the gradient
    of its own rows; the next pass with it averages the sum of all since then over processes."""
    if now or not isinstance(network, DistributedDataParallel):
        return nullcontext()
    return network.no_sync()
