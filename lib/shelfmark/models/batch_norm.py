"""Batch norm where several processes train: one model, whichever process is asked. Legend: C channels."""

from __future__ import annotations

import torch
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from shelfmark.core import dist
from shelfmark.core.errors import UserError
from shelfmark.models.neck import BatchNormNeck, SyncBatchNormNeck


def running_statistics(network: nn.Module) -> list[Tensor]:
    """running_mean and running_var, (C,) each, of every batch norm that learns now: that is in training mode."""
    learning = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
    buffers = [buffer for module in learning for buffer in (module.running_mean, module.running_var)]
    return [buffer for buffer in buffers if buffer is not None]


def named_statistics(network: nn.Module) -> dict[str, Tensor]:
    """running_mean and running_var, (C,) each, of every batch norm, by their names in a state_dict."""
    norms = [(name, module) for name, module in network.named_modules() if isinstance(module, _BatchNorm)]
    keys = ("running_mean", "running_var")
    found = {f"{name}.{key}": getattr(norm, key) for name, norm in norms for key in keys}
    return {name: buffer for name, buffer in found.items() if buffer is not None}


def average_statistics(network: nn.Module) -> None:
    """Gives every batch norm that learns the mean over processes of its running statistics, in place.

    Called after each step, in training mode, it keeps the statistics of all processes equal to the bit, so that saves
    and validations at any time see one model. It takes the mean of the running means and of the running variances, and
    does not add the spread between the processes' means. A running variance is a mean, over batches, of unbiased
    variances within a batch, and the processes' parts are further batches: each variance already estimates that over
    all images, so the spread would be counted twice. `num_batches_tracked` is the same in every process. With one
    process nothing changes.
    """
    if dist.world_size() == 1:
        return
    statistics = running_statistics(network)
    if not statistics:
        return
    # In float64 equal values stay what they are, and the sum does not depend on the order of processes.
    total = dist.sum_over_ranks(torch.cat([one.double() for one in statistics])) / dist.world_size()
    for one, mean in zip(statistics, total.split([len(one) for one in statistics])):
        one.copy_(mean)


def sync_batch_norm(network: nn.Module, device: torch.device) -> None:
    """Lets every batch norm normalise by the batch of all processes (`model.sync_bn`), in place.

    Call it before the network is wrapped. Parameters stay the same objects, and names in a state_dict do too, so
    checkpoints of both kinds fit each other. With one process nothing changes: its batch is whole. UserError: on a CPU.
    """
    if dist.world_size() == 1:
        return
    if device.type != "cuda":
        raise UserError(
            f"model.sync_bn=true needs GPUs, and this run trains on {device.type}: set model.sync_bn=false. Then each"
            " process normalises by its own part of a batch, and running statistics are averaged over processes."
        )
    _convert(network)


def _convert(network: nn.Module) -> None:
    necks = {name: module for name, module in network.named_modules() if isinstance(module, BatchNormNeck)}
    for name, child in network.named_children():
        network.add_module(name, convert_sync_batchnorm(child))
    for name, neck in necks.items():
        network.set_submodule(name, SyncBatchNormNeck.of(neck))
