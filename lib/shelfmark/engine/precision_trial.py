"""Whether bfloat16 pays on this CPU, for the network at hand.

Matrix products and ordinary convolutions gain from AMX and AVX512-BF16, depthwise convolutions lose, so a
trial decides. `make bench-training` has ResNet-50 and tf_efficientnet_lite0 in both precisions.
"""

from __future__ import annotations

import copy
import time
from contextlib import suppress

import torch
from torch import Tensor, nn

from shelfmark.core.devices import has_bf16_instructions
from shelfmark.core.seeding import seeded
from shelfmark.core.together import from_main
from shelfmark.engine.precision import Precision

SMALLEST_GAIN = 1.15
"""bfloat16 is chosen from this gain on. Dense networks gain 1.2 and more, those with depthwise convolutions lose. The
limit lies between, so that noise does not decide."""

_NUM_IMAGES = 4
# Patches of 16 or 32 pixels fill the first, those of 14 the second.
_SMALL_PX = (128, 112)
_REFUSALS = (AssertionError, RuntimeError, ValueError)
_SECONDS = 0.5


def precision_of_training(name: str, backbone: nn.Module, size_px: int, device: torch.device) -> Precision:
    """`train.precision` of a run that starts; a collective. On a CPU with bfloat16 instructions a trial decides `auto`.

    size_px: side of the network's input.
    """
    if name == "auto" and device.type == "cpu" and has_bf16_instructions():
        gain = from_main(lambda: bf16_gain(backbone, size_px))
        name = "bf16" if gain >= SMALLEST_GAIN else "fp32"
    return Precision.resolve(name, device)


def bf16_gain(backbone: nn.Module, size_px: int) -> float:
    """Seconds of a forward and a backward pass in float32, over those in bfloat16, on one core of this CPU.

    The batch has four images of at most 128 px, or one of size_px where the backbone takes no other size. 0 where the
    backbone takes none of these images: the training will raise the error. Measured is the processor time of the
    thread, which other programs disturb little. The backbone and the random state stay as they are.
    """
    trial, threads = copy.deepcopy(backbone).cpu(), torch.get_num_threads()
    # Also if the backbone is frozen at first: the choice is for the whole run.
    trial.requires_grad_(True)
    torch.set_num_threads(1)
    try:
        with seeded(0):
            # Many transformers refuse another size than their own.
            for num_images, px in [*((_NUM_IMAGES, min(size_px, small)) for small in _SMALL_PX), (1, size_px)]:
                with suppress(*_REFUSALS):
                    return _gain(trial, torch.randn(num_images, 3, px, px))
            return 0.0
    finally:
        torch.set_num_threads(threads)


def _gain(backbone: nn.Module, images: Tensor) -> float:
    # The first pass of each kind also prepares the kernels. For a large network it is the only one.
    best = {name: _seconds(backbone, images, name) for name in ("fp32", "bf16")}
    until = time.perf_counter() + _SECONDS - sum(best.values())
    while time.perf_counter() < until:
        best = {name: min(least, _seconds(backbone, images, name)) for name, least in best.items()}
    return best["fp32"] / best["bf16"]


def _seconds(backbone: nn.Module, images: Tensor, precision: str) -> float:
    start = time.thread_time()
    with Precision(precision, images.device).autocast():
        features = backbone(images)
    features.float().square().mean().backward()
    return time.thread_time() - start
