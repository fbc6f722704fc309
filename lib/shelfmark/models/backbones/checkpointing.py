"""Gradient checkpointing: activations are computed again in the backward pass, in place of being kept."""

from __future__ import annotations

from torch import nn

from shelfmark.core.errors import UserError


def checkpoint_gradients(backbone: nn.Module) -> None:
    """Lets a timm model compute the activations within its blocks again. UserError: it has no such blocks."""
    switch = getattr(backbone, "set_grad_checkpointing", None)
    try:
        if switch is not None:
            switch(enable=True)
    # timm says by an assertion that a model has none, and some fail as they look for their blocks.
    except (AssertionError, AttributeError, NotImplementedError):
        switch = None
    if switch is None or not recomputes(backbone):
        raise UserError(
            f"model.grad_checkpointing=true: {type(backbone).__name__} does not support it. ResNets, EfficientNets,"
            " ConvNeXts and transformers of timm do; or set it to false, and lower the memory by train.accumulate_steps"
            " or train.grad_cache."
        )


def recomputes(network: nn.Module) -> bool:
    """Whether any part of the network computes activations again."""
    return any(getattr(module, "grad_checkpointing", False) is True for module in network.modules())
