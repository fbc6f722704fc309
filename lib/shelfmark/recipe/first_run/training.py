"""The training of a first recipe: how long, in which stages, by which score. Chosen once the speed is measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from shelfmark.recipe.first_run.facts import Choice, Facts, Speed

HEAD_STEPS = 600
"""Steps after which a linear classifier on stored features hardly learns more."""
SCRATCH_STEPS = 3000
CPU_BUDGET_S, GPU_BUDGET_S = 600.0, 1200.0
"""The longest training of images that is chosen; who has more time sets train.num_epochs."""
MIN_TUNING_EPOCHS = 2
_STRUCTURE = ("train.stages", "train.cache_features", "model.freeze")


class Plan(NamedTuple):
    """choices: of the training. expected_s: seconds that it may take; None where nothing was measured."""

    choices: list[Choice]
    expected_s: float | None


def choose_training(facts: Facts, network: Sequence[Choice], speed: Speed | None) -> Plan:
    """network: the result of `choose_network`. speed: None if nothing could be measured."""
    chosen = {choice.option: choice.value for choice in network}
    speed = speed or _usual_speed(facts)
    if not chosen["model.weights"]:
        choices, seconds = _from_scratch(facts, chosen, speed)
    elif any(facts.is_asked(option) for option in _STRUCTURE):
        choices, seconds = _tuned_at_once(facts, chosen, speed)
    else:
        choices, seconds = _head_first(facts, chosen, speed)
    return Plan([*choices, *_common(facts)], seconds)


def _head_first(facts: Facts, chosen: Mapping[str, Any], speed: Speed) -> tuple[list[Choice], float]:
    steps = _steps(facts, chosen)
    views = _views(facts, speed)
    head, tuning, why = _epochs(facts, steps, speed)
    choices = [
        Choice("model.freeze", ["backbone"], "head first: the classifier learns on features of the backbone as it is"),
        Choice("train.cache_features.views", views, f"each picture passes the backbone in {views} random views"),
        Choice("train.num_epochs", head + tuning, why),
        Choice("optim.name", "adamw"),
        Choice("optim.lr", facts.value("optim.lr", 0.003), "of the head; the whole network gets a tenth"),
        Choice("optim.weight_decay", 0.05),
    ]
    if tuning:
        choices += [
            Choice("optim.layer_decay", 0.8, "the first layers, which know edges and colours, change least"),
            Choice("train.stages", [_tuning_stage(facts, head, tuning)], "then the whole network"),
        ]
    seconds = facts.num_train * (views * speed.pass_s + tuning * speed.step_s) + facts.num_val * (
        1 + tuning
    ) * speed.pass_s
    return choices, seconds


def _tuning_stage(facts: Facts, head: int, tuning: int) -> dict[str, Any]:
    rate = facts.value("optim.lr", 0.003) / 10
    schedule = {"name": "cosine", "warmup_epochs": min(1, tuning / 4)}
    return {"from_epoch": head, "freeze": [], "lr": rate, "schedule": schedule}


def _epochs(facts: Facts, steps: int, speed: Speed) -> tuple[int, int, str]:
    """Epochs of the head and of the whole network, and why."""
    head = min(60, max(5, math.ceil(HEAD_STEPS / steps)))
    if facts.is_asked("train.num_epochs"):
        return _asked_epochs(int(facts.asked["train.num_epochs"]), head)
    wanted = next(epochs for most, epochs in _TUNING_EPOCHS if facts.num_train <= most)
    epoch_s = facts.num_train * speed.step_s + facts.num_val * speed.pass_s
    possible = int(_budget_s(facts) / epoch_s) if epoch_s else wanted
    tuning = min(wanted, possible)
    if tuning < MIN_TUNING_EPOCHS:
        longer = f"an epoch of the whole network would take {epoch_s / 60:.0f} minutes here"
        return head, 0, f"of the head alone: {longer}; train.stages adds them"
    few = f", since one takes {epoch_s / 60:.1f} minutes" if tuning < wanted else ""
    return head, tuning, f"{head} of the head, in seconds, and {tuning} of the whole network{few}"


_TUNING_EPOCHS = ((1000, 10), (5000, 8), (50_000, 5), (math.inf, 3))
"""Images up to a number, and the epochs of the whole network that are worth their time."""


def _asked_epochs(asked: int, head: int) -> tuple[int, int, str]:
    tuning = max(0, asked - head) if asked > head else asked // 3
    return asked - tuning, tuning, f"as you asked: {asked - tuning} of the head, {tuning} of the whole network"


def _views(facts: Facts, speed: Speed) -> int:
    """Passes of the training images through the frozen backbone: as many as take a part of the time, 4 at most."""
    one_s = facts.num_train * speed.pass_s
    return max(1, min(4, int(_budget_s(facts) / 4 / one_s))) if one_s else 4


def _tuned_at_once(facts: Facts, chosen: Mapping[str, Any], speed: Speed) -> tuple[list[Choice], float]:
    epochs = next(epochs for most, epochs in _TUNING_EPOCHS if facts.num_train <= most) + 5
    epochs = facts.value("train.num_epochs", epochs)
    return [
        Choice("train.num_epochs", epochs, "few: the backbone has learned before"),
        Choice("optim.name", "adamw"),
        Choice("optim.lr", facts.value("optim.lr", 0.0003)),
        Choice("optim.weight_decay", 0.05),
        Choice("optim.schedule.warmup_epochs", min(1, epochs / 4)),
    ], _image_seconds(facts, epochs, speed)


def _from_scratch(facts: Facts, chosen: Mapping[str, Any], speed: Speed) -> tuple[list[Choice], float]:
    wanted = min(150, max(20, math.ceil(SCRATCH_STEPS / _steps(facts, chosen))))
    epoch_s = facts.num_train * speed.step_s
    possible = max(5, int(_budget_s(facts) / epoch_s)) if epoch_s else wanted
    epochs = facts.value("train.num_epochs", min(wanted, possible))
    return [
        Choice("train.num_epochs", epochs, "many: all has to be learned from these pictures"),
        Choice("optim.name", "adamw"),
        Choice("optim.lr", facts.value("optim.lr", 0.002)),
        Choice("optim.weight_decay", 0.05),
        Choice("optim.schedule.warmup_epochs", min(3, epochs / 4)),
    ], _image_seconds(facts, epochs, speed)


def _common(facts: Facts) -> list[Choice]:
    balanced = facts.imbalance <= 5
    few = facts.num_val < 10 * len(facts.counts)
    metric = ("top1", "classes are about equally large") if balanced else ("mean_class_accuracy", "classes differ much")
    return [
        Choice("losses", [{"name": "cross_entropy", "label_smoothing": 0.1}], "smoothed: few pictures, few certainties"),
        Choice("augment.crop_scale", [0.35, 1.0], "mild: a product should stay in the picture"),
        Choice("augment.flip", 0.0, "labels hold text, which is never mirrored; 0.5 for fruit, screws or furniture"),
        Choice("augment.color_jitter", [0.2, 0.2, 0.2, 0.0], "light changes; the hue tells flavours apart"),
        Choice("eval.metric", *metric),
        Choice("eval.every_epochs", 5 if few else 1, "so few pictures tell neighbouring epochs apart by luck")
        if few
        else Choice("eval.every_epochs", 1),
        Choice("train.checkpoint_every_epochs", 5) if few else Choice("train.checkpoint_every_epochs", 1),
    ]


def _steps(facts: Facts, chosen: Mapping[str, Any]) -> int:
    return max(1, facts.num_train // chosen["train.batch_size"])


def _image_seconds(facts: Facts, epochs: int, speed: Speed) -> float:
    return epochs * (facts.num_train * speed.step_s + facts.num_val * speed.pass_s)


def _budget_s(facts: Facts) -> float:
    return GPU_BUDGET_S if facts.has_gpu else CPU_BUDGET_S


def _usual_speed(facts: Facts) -> Speed:
    return Speed(0.001, 0.003) if facts.has_gpu else Speed(0.02 / max(1, min(facts.num_cores, 8)), 0.06)
