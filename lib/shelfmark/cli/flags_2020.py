"""The flags of the 2020 AliProducts scripts, one table: flag -> the overrides that it means."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from shelfmark.config.load import Override
from shelfmark.core.errors import UserError, nearest
from shelfmark.migrate.values import Reading, one_of, to_float, to_int


@dataclass(frozen=True)
class Flag:
    """One flag. read: its value's text to what it sets; raises ValueError or UserError where it does not fit.

    meaning: what it sets, for messages. note: what the user should know, with these values or, `()`, with any.
    """

    read: Callable[[str], Reading]
    meaning: str
    note: str = ""
    note_for: tuple[str, ...] = ()
    takes_value: bool = True


class Translation(NamedTuple):
    """overrides: what the 2020 flags mean. rest: the other arguments, as they came. notes: for the log."""

    overrides: list[Override]
    rest: list[str]
    notes: list[str]


def translate_2020(argv: Sequence[str]) -> Translation:
    """Takes the 2020 flags (`--KEY VALUE` or `--KEY=VALUE`) out of a command line; the last of two equal ones rules.

    `--RESUME_MODEL` and `--gpu_ids` stay in `rest`: they are options of today's command line too.
    """
    given, rest = _split(argv)
    overrides: list[Override] = []
    notes: list[str] = []
    # In the table's order, not the command line's: --LR_SCHEDULER has the last word on what --DECAY_STEP implies.
    for name, flag in FLAGS.items():
        if name not in given:
            continue
        typed = f"--{name} {given[name]}".rstrip()
        overrides += [Override(key, value, typed) for key, value in _read(name, flag, given[name])]
        if flag.note and (not flag.note_for or given[name] in flag.note_for):
            notes.append(f"{typed}: {flag.note}")
    return Translation(overrides, rest, notes)


def nearest_flag(name: str, others: Sequence[str] = ()) -> str | None:
    """The flag, of 2020 or of `others`, that an unknown one (`--base_lr`) was most likely meant to be."""
    known = [f"--{flag}" for flag in (*FLAGS, "RESUME_MODEL", "gpu_ids")]
    return nearest(name.partition("=")[0], [*others, *known])


def _split(argv: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    given: dict[str, str] = {}
    rest: list[str] = []
    waiting = list(argv)
    while waiting:
        argument = waiting.pop(0)
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or name not in FLAGS:
            rest.append(argument)
        elif not FLAGS[name].takes_value:
            if equals:
                raise UserError(f"--{name} is a switch: it takes no value, not even {value!r}.")
            given[name] = ""
        elif equals:
            given[name] = value
        elif waiting and not waiting[0].startswith("--"):
            given[name] = waiting.pop(0)
        else:
            raise UserError(f"--{name} needs a value: --{name} VALUE sets {FLAGS[name].meaning}.")
    return given, rest


def _read(name: str, flag: Flag, text: str) -> Reading:
    try:
        return flag.read(text)
    except ValueError as error:
        raise UserError(f"--{name} {text if len(text) <= 60 else f'{text[:57]}...'}: {error}") from None


def _whole(key: str) -> Callable[[str], Reading]:
    return lambda text: [(key, to_int(text))]


def _number(key: str) -> Callable[[str], Reading]:
    return lambda text: [(key, to_float(text))]


def _text(key: str) -> Callable[[str], Reading]:
    return lambda text: [(key, text)]


def _choice(key: str, meanings: Mapping[str, Any]) -> Callable[[str], Reading]:
    return lambda text: [(key, meanings[one_of(text, meanings)])]


def _accepted(*choices: str) -> Callable[[str], Reading]:
    """Sets nothing, and refuses what 2020 would."""

    def read(text: str) -> Reading:
        one_of(text, choices)
        return []

    return read


def _dataset(text: str) -> Reading:
    if text.startswith("IMBALANCECIFAR"):
        raise ValueError(
            "the data is what data.train_json and its neighbours name. Make long-tailed CIFAR with "
            "`shelfmark prepare cifar100_lt` or `cifar10_lt`, and take --config configs/longtail/cifar100_lt.yaml."
        )
    return _accepted("AiProducts")(text)


def _decay_step(text: str) -> Reading:
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


def _change_sampler(text: str) -> Reading:
    [(key, epoch)] = _whole("sampling.stages")(text)
    return [(key, [{"from_epoch": epoch, "type": "class_balanced"}])]


_SAMPLERS = {"instance_balance": "instance", "class_balance": "class_balanced", "reverse": "reverse"}

FLAGS: dict[str, Flag] = {
    "DATASET": Flag(_dataset, "nothing", "the data is what data.train_json and its neighbours name."),
    "DATASET_ROOT": Flag(_text("data.root"), "data.root"),
    "DATASET_TRAIN_JSON": Flag(_text("data.train_json"), "data.train_json"),
    "DATASET_VALID_JSON": Flag(_text("data.val_json"), "data.val_json"),
    "DATASET_TEST_JSON": Flag(_text("data.test_json"), "data.test_json"),
    "num_classes": Flag(_whole("data.num_classes"), "data.num_classes"),
    "INPUT_SIZE": Flag(_whole("data.input_size_px"), "data.input_size_px"),
    "COLOR_SPACE": Flag(
        _accepted("RGB", "BGR"),
        "nothing",
        note="images are always RGB, so that the normalisation's statistics and pretrained weights fit.",
        note_for=("BGR",),
    ),
    "NUM_WORKERS": Flag(_whole("data.num_workers"), "data.num_workers"),
    "SAMPLER_TYPE": Flag(_choice("sampling.type", _SAMPLERS), "sampling.type"),
    "CHANGE_SAMPLER_EPOCH": Flag(_change_sampler, "sampling.stages"),
    "BACKBONE": Flag(_text("model.backbone"), "model.backbone"),
    "PRETRAINED_BACKBONE": Flag(_text("model.weights"), "model.weights"),
    "BACKBONE_FREEZE": Flag(lambda text: [("model.freeze", ["backbone"])], "model.freeze", takes_value=False),
    "CLASSIFIER": Flag(
        _choice("model.classifier.type", {"FC": "linear", "FCNorm": "cosine"}),
        "model.classifier.type",
        note="its cosines had no factor in 2020, so the loss could not fall; model.classifier.scale is that factor.",
        note_for=("FCNorm",),
    ),
    "LOSS_TYPE": Flag(_choice("losses", {"CrossEntropy": [{"name": "cross_entropy"}]}), "losses"),
    "OPTIMIZER": Flag(_choice("optim.name", {"SGD": "sgd", "ADAM": "adam"}), "optim.name"),
    "BASE_LR": Flag(_number("optim.lr"), "optim.lr"),
    "WEIGHT_DECAY": Flag(_number("optim.weight_decay"), "optim.weight_decay"),
    "DECAY_STEP": Flag(_decay_step, "optim.schedule.milestones_epochs"),
    "LR_SCHEDULER": Flag(
        _choice("optim.schedule.name", {"multistep": "multistep", "cosine": "cosine"}), "optim.schedule.name"
    ),
    "BATCH_SIZE": Flag(_whole("train.batch_size"), "train.batch_size"),
    "MAX_EPOCH": Flag(_whole("train.num_epochs"), "train.num_epochs"),
    "SHOW_STEP": Flag(_whole("train.log_every_steps"), "train.log_every_steps"),
    "SAVE_STEP": Flag(_whole("train.checkpoint_every_epochs"), "train.checkpoint_every_epochs"),
    "p": Flag(lambda text: [], "nothing", note="it never had an effect."),
}
