"""The training of a first recipe: how long, in which stages, by which score. Chosen once the speed is measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from shelfmark.core.terminal import duration
from shelfmark.recipe.first_run.facts import Choice, Facts, Speed

HEAD_STEPS = 400
"""Steps after which a linear classifier on stored features hardly learns more."""
SCRATCH_STEPS, SCRATCH_BUDGET = 3000, 4
"""Of a training from random weights: the steps that are worth their time, and how many times as long it may take."""
_FEW = 1000
LEAST_BUDGET_S, BUDGET_S_PER_IMAGE = 10.0, 0.15
MOST_BUDGET_S = 900.0
"""The longest training that is chosen: the more pictures, the longer one waits. Who has more time sets
train.num_epochs."""
_WHY_BUDGET = (
    f"{LEAST_BUDGET_S:g} s and {BUDGET_S_PER_IMAGE:g} s for each training image, {MOST_BUDGET_S / 60:g} min at most"
)
MIN_TUNING_EPOCHS = 2
TUNING_EPOCHS = ((5000, 8), (50_000, 5), (math.inf, 3))
"""Training images up to a number, and the epochs of the whole network that are worth their time."""
HEAD_LR, TUNING_FACTOR, SCRATCH_LR = 0.003, 0.1, 0.002
_STRUCTURE = ("train.stages", "train.cache_features", "model.freeze")

COMMON = (
    Choice("losses", [{"name": "cross_entropy"}], "without label smoothing: probabilities mean what they say"),
    Choice("augment.crop_scale", [0.35, 1.0], "mild crops: most of the product stays in the picture"),
    Choice("augment.flip", 0.0, "text on a pack is never mirrored; 0.5 for fruit, screws, furniture"),
    Choice("augment.color_jitter", [0.2, 0.2, 0.2, 0.0], "light changes, the hue does not: it tells flavours apart"),
)
"""What every first recipe has, whatever the pictures."""


class Plan(NamedTuple):
    """choices: of the training. expected_s: the seconds that passes and steps may take, without start and report."""

    choices: list[Choice]
    expected_s: float


class _Length(NamedTuple):
    head: int
    tuning: int
    why: str


def choose_training(facts: Facts, network: Sequence[Choice], speed: Speed) -> Plan:
    """network: the result of `choose_network`. speed: of that network, with `COMMON`."""
    chosen = {choice.option: choice.value for choice in network}
    steps = max(1, facts.num_train // chosen["train.batch_size"])
    if not chosen["model.weights"]:
        choices, seconds = _from_scratch(facts, steps, speed)
    elif any(facts.is_asked(option) for option in _STRUCTURE):
        choices, seconds = _tuned_at_once(facts, speed)
    else:
        choices, seconds = _head_first(facts, steps, speed)
    return Plan([*choices, *_evaluation(facts, choices)], seconds)


def _head_first(facts: Facts, steps: int, speed: Speed) -> tuple[list[Choice], float]:
    length, views = _length(facts, steps, speed), _views(facts, speed)
    head_lr = facts.value("optim.lr", HEAD_LR)
    choices = [
        Choice("model.freeze", ["backbone"], "head first: the classifier learns on the features of the backbone"),
        Choice("train.cache_features.views", views, "passes of each picture, cropped anew, that give these features"),
        Choice("train.num_epochs", length.head + length.tuning, length.why),
        Choice("optim.name", "adamw"),
        Choice("optim.lr", head_lr, "of the classifier; the whole network gets a tenth"),
        Choice("optim.weight_decay", 0.05),
    ]
    if length.tuning:
        schedule = {"name": "cosine", "warmup_epochs": min(1.0, length.tuning / 4)}
        rate = round(head_lr * TUNING_FACTOR, 10)
        stage = {"from_epoch": length.head, "freeze": [], "lr": rate, "schedule": schedule}
        choices += [
            Choice("optim.layer_decay", 0.8, "early layers, which see edges and colours, change least"),
            Choice("train.stages", [stage], "then the whole network"),
        ]
    # Of a frozen backbone the validation images too are passed once.
    passes = views * facts.num_train + facts.num_val
    return choices, passes * speed.pass_s + _image_s(facts, length.tuning, speed)


def _length(facts: Facts, steps: int, speed: Speed) -> _Length:
    head = min(60, max(5, math.ceil(HEAD_STEPS / steps)))
    if "train.num_epochs" in facts.asked:
        asked = int(facts.asked["train.num_epochs"])
        tuning = asked - head if asked > head else asked // 3
        return _Length(asked - tuning, tuning, f"{asked - tuning} of the classifier, {tuning} of the whole network")
    epoch_s = _image_s(facts, 1, speed)
    wanted = _tuning_epochs(facts)
    tuning = min(wanted, int(_budget_s(facts) / epoch_s))
    may_take = f"may take {duration(_budget_s(facts))} ({_WHY_BUDGET})"
    if tuning < MIN_TUNING_EPOCHS:
        why = f"all of the classifier; {MIN_TUNING_EPOCHS} of the whole network, which are the least, {may_take}, and"
        return _Length(head, 0, f"{why} one takes {duration(epoch_s)} here")
    limit = "" if tuning == wanted else f"; these {may_take}, and one takes {duration(epoch_s)} here"
    why = f"{head} of the classifier, which take seconds, and {tuning} of the whole network{limit}"
    return _Length(head, tuning, why)


def _views(facts: Facts, speed: Speed) -> int:
    """As many passes as take a third of the longest time, from 1 to 4; of few pictures 2 at least."""
    possible = int(_budget_s(facts) / 3 / (facts.num_train * speed.pass_s))
    return max(2 if facts.num_train < _FEW else 1, min(4, possible))


def _tuned_at_once(facts: Facts, speed: Speed) -> tuple[list[Choice], float]:
    epochs = facts.value("train.num_epochs", _tuning_epochs(facts) + 5)
    return [
        Choice("train.num_epochs", epochs, "few, since the backbone has learned before"),
        Choice("optim.name", "adamw"),
        Choice("optim.lr", round(HEAD_LR * TUNING_FACTOR, 10)),
        Choice("optim.weight_decay", 0.05),
        Choice("optim.schedule.warmup_epochs", min(1.0, epochs / 4)),
    ], _image_s(facts, epochs, speed)


def _from_scratch(facts: Facts, steps: int, speed: Speed) -> tuple[list[Choice], float]:
    wanted = min(150, max(20, math.ceil(SCRATCH_STEPS / steps)))
    possible = max(10, int(SCRATCH_BUDGET * _budget_s(facts) / _image_s(facts, 1, speed)))
    epochs = facts.value("train.num_epochs", min(wanted, possible))
    return [
        Choice("train.num_epochs", epochs, "many, since all has to be learned from these pictures"),
        Choice("optim.name", "adamw"),
        Choice("optim.lr", SCRATCH_LR),
        Choice("optim.weight_decay", 0.05),
        Choice("optim.schedule.warmup_epochs", min(3.0, epochs / 4)),
    ], _image_s(facts, epochs, speed)


def _evaluation(facts: Facts, plan: Sequence[Choice]) -> list[Choice]:
    score, why = _score(facts)
    every, why_every = 1, ""
    if facts.num_train < _FEW:
        stages: list[dict[str, Any]] = next((one.value for one in plan if one.option == "train.stages"), [])
        epochs = next(one.value for one in plan if one.option == "train.num_epochs")
        every = stages[0]["from_epoch"] if stages else epochs
        why_every = "so few images cannot tell neighbouring epochs apart"
    return [
        Choice("eval.metric", score, why),
        Choice("eval.ties", "last", "of equal scores the model counts that has learned for longer"),
        Choice("eval.every_epochs", every, why_every),
        Choice("train.checkpoint_every_epochs", min(5, every)),
    ]


def _score(facts: Facts) -> tuple[str, str]:
    if facts.is_retrieval:
        return "recall@1", "no loss trains the classifier, so neighbours answer"
    if facts.imbalance <= 5:
        return "top1", "classes have about as many images each"
    return "mean_class_accuracy", "small classes count as much as large ones"


def _tuning_epochs(facts: Facts) -> int:
    return next(epochs for most, epochs in TUNING_EPOCHS if facts.num_train <= most)


def _image_s(facts: Facts, epochs: int, speed: Speed) -> float:
    """Seconds of epochs on images, each with its evaluation."""
    return epochs * (facts.num_train * speed.step_s + facts.num_val * speed.pass_s)


def _budget_s(facts: Facts) -> float:
    return min(MOST_BUDGET_S, LEAST_BUDGET_S + BUDGET_S_PER_IMAGE * facts.num_train)
