"""The flags of the 2020 AliProducts scripts as a table, and what a command line of them means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from shelfmark.config.overrides import Override
from shelfmark.core.errors import UserError
from shelfmark.migrate.flags import OldFlag, meaning_of_values
from shelfmark.migrate.notes import Note
from shelfmark.migrate.readers import always, any_of, number, renamed, whole, words
from shelfmark.migrate.values import Reading, Values, to_float, to_int


class Translation(NamedTuple):
    """overrides: what the 2020 flags mean. rest: the other arguments, as they came. notes: for the log."""

    overrides: list[Override]
    rest: list[str]
    notes: list[str]


def translate_2020(argv: Sequence[str]) -> Translation:
    """Takes the 2020 flags (`--KEY VALUE` or `--KEY=VALUE`) out of a command line; the last of two equal ones rules.

    `--RESUME_MODEL` and `--gpu_ids` stay in `rest`: they are options of today's command line too.
    """
    values: dict[str, str] = {}
    rest: list[str] = []
    waiting = list(argv)
    while waiting:
        argument = waiting.pop(0)
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or name not in FLAGS:
            rest.append(argument)
        elif FLAGS[name].takes == "switch":
            if equals:
                raise UserError(f"--{name} is a switch: it takes no value, not even {value!r}.")
            values[name] = ""
        elif equals or (waiting and not waiting[0].startswith("--")):
            values[name] = value if equals else waiting.pop(0)
        else:
            raise UserError(f"--{name} needs a value, as --{name} VALUE.")
    shown = {name: f"--{name} {value}".rstrip() for name, value in values.items()}
    # In the table's order, not the command line's: --LR_SCHEDULER has the last word on what --DECAY_STEP implies.
    found = meaning_of_values(FLAGS, values, values, shown)
    return Translation(found.overrides, rest, found.notes)


def flags_2020() -> list[str]:
    """Every flag of 2020, as it is typed."""
    return [f"--{flag}" for flag in FLAGS]


def _dataset(text: str, values: Values) -> Reading:
    if text.startswith("IMBALANCECIFAR"):
        raise ValueError(
            "the data is what data.train_json and its neighbours name. Make long-tailed CIFAR with "
            "`shelfmark prepare cifar100_lt` or `cifar10_lt`, and take --config configs/longtail/cifar100_lt.yaml."
        )
    return any_of("AiProducts")(text, values)


def _decay_step(text: str, values: Values) -> Reading:
    """`10,20,30` or `[10,20,30]`: a tenth at each. Implies multistep, 2020's default; --LR_SCHEDULER may overrule."""
    inner = text.strip()
    if inner.startswith("[") and inner.endswith("]"):
        inner = inner[1:-1]
    try:
        epochs = [to_float(part) for part in re.split(r"[,\s]+", inner.strip(" ,")) if part]
    except ValueError as error:
        raise ValueError(f"{error} Give epochs as 10,20,30.") from None
    schedule = {"name": "multistep", "milestones_epochs": epochs, "gamma": 0.1}
    return [(f"optim.schedule.{key}", value) for key, value in schedule.items()]


def _change_sampler(text: str, values: Values) -> Reading:
    return [("sampling.stages", [{"from_epoch": to_int(text), "type": "class_balanced"}])]


def _noted(value: str, note: str) -> Note:
    return lambda text, values: note if text == value else ""


_SAMPLERS = {"instance_balance": "instance", "class_balance": "class_balanced", "reverse": "reverse"}

FLAGS: dict[str, OldFlag] = {
    "DATASET": OldFlag(_dataset, note="the data is what data.train_json and its neighbours name."),
    "DATASET_ROOT": OldFlag(words("data.root")),
    "DATASET_TRAIN_JSON": OldFlag(words("data.train_json")),
    "DATASET_VALID_JSON": OldFlag(words("data.val_json")),
    "DATASET_TEST_JSON": OldFlag(words("data.test_json")),
    "num_classes": OldFlag(whole("data.num_classes")),
    "INPUT_SIZE": OldFlag(whole("data.input_size_px")),
    "COLOR_SPACE": OldFlag(
        any_of("RGB", "BGR"),
        note=_noted("BGR", "images are always RGB, so that the normalisation's statistics and pretrained weights fit."),
    ),
    "NUM_WORKERS": OldFlag(whole("data.num_workers")),
    "SAMPLER_TYPE": OldFlag(renamed("sampling.type", _SAMPLERS)),
    "CHANGE_SAMPLER_EPOCH": OldFlag(_change_sampler),
    "BACKBONE": OldFlag(words("model.backbone")),
    "PRETRAINED_BACKBONE": OldFlag(words("model.weights")),
    "BACKBONE_FREEZE": OldFlag(always("model.freeze", ["backbone"]), takes="switch"),
    "CLASSIFIER": OldFlag(
        renamed("model.classifier.type", {"FC": "linear", "FCNorm": "cosine"}),
        note=_noted(
            "FCNorm",
            "its cosines had no factor in 2020, so the loss could not fall; model.classifier.scale is that factor.",
        ),
    ),
    "LOSS_TYPE": OldFlag(renamed("losses", {"CrossEntropy": [{"name": "cross_entropy"}]})),
    "OPTIMIZER": OldFlag(renamed("optim.name", {"SGD": "sgd", "ADAM": "adam"})),
    "BASE_LR": OldFlag(number("optim.lr")),
    "WEIGHT_DECAY": OldFlag(number("optim.weight_decay")),
    "DECAY_STEP": OldFlag(_decay_step),
    "LR_SCHEDULER": OldFlag(renamed("optim.schedule.name", {name: name for name in ("multistep", "cosine")})),
    "BATCH_SIZE": OldFlag(whole("train.batch_size")),
    "MAX_EPOCH": OldFlag(whole("train.num_epochs")),
    "SHOW_STEP": OldFlag(whole("train.log_every_steps")),
    "SAVE_STEP": OldFlag(whole("train.checkpoint_every_epochs")),
    "p": OldFlag(note="it never had an effect."),
}
