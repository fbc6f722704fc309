"""Blocks whose arithmetic is as fine as its numbers, whatever autocast says around them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """A block without autocast. Where autocast is off it is no block at all, so that exporters record nothing of it."""
    # Tensors without content, of the device `meta`, know no autocast.
    if device.type != "meta" and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
