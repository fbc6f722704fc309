"""What a recipe brings that does not fit what was typed over it: a warm-up that is too long, stages that begin too
late, files of other data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shelfmark.config.load import Loaded, as_set
from shelfmark.config.overrides import Override
from shelfmark.core.errors import UserError
from shelfmark.core.log import remark
from shelfmark.recipe.tree import Recipe

_WARMUP, _EPOCHS, _STAGE = "optim.schedule.warmup_epochs", "train.num_epochs", "train.stages.0.from_epoch"
_STAGES = "train.stages"
_SHARE = 0.1
"""A shortened warm-up's share of the epochs."""
_TRAIN = "data.train_json"
_OTHERS = ("data.more_train_json", "data.val_json", "data.retrieval_json", "data.test_json")


def shortened_warmup(loaded: Loaded[Recipe]) -> list[Override]:
    """The warm-up of a recipe that other epochs were typed over: a tenth of them, where it would not end within them.

    [] where nothing is to be changed. One that was set where the epochs were set, or on the command line, is the
    user's own, and stays: the schedule refuses it.
    """
    recipe, origins = loaded.config, loaded.origins
    ends = {
        _EPOCHS: recipe.train.num_epochs,
        **({_STAGE: recipe.train.stages[0].from_epoch} if recipe.train.stages else {}),
    }
    end, length = min(ends.items(), key=lambda one: one[1])
    warmup = recipe.optim.schedule.warmup_epochs
    from_where = file_of(origins.get(_WARMUP, ""))
    if warmup < length or from_where == "command line" or from_where == file_of(origins.get(end, "")):
        return []
    shorter = length * _SHARE
    remark(
        f"{_WARMUP}={warmup:g} ({origins[_WARMUP]}) does not end within {length} {'epochs' if length > 1 else 'epoch'};"
        f" it is {shorter:g} in this run. {_WARMUP}=0 leaves it out."
    )
    return [Override(_WARMUP, shorter, f"shortened from {warmup:g} of {origins[_WARMUP]}")]


def stages_within(file: Path | None, overrides: Sequence[Override]) -> list[Override]:
    """The stages of a recipe that other epochs were typed over: those that begin within them, and a note on the others.

    [] where nothing is to be changed. Stages that were set where the epochs were set, or on the command line, are the
    user's own, and stay: the recipe refuses them.
    """
    values, origins = as_set(Recipe, file, overrides)
    train = values.get("train") if isinstance(values, dict) else None
    stages, length = (train.get(name) for name in ("stages", "num_epochs")) if isinstance(train, dict) else (None, None)
    if not isinstance(stages, list) or not isinstance(length, int):
        return []
    late = [i for i, stage in enumerate(stages) if isinstance(stage, dict) and _begins(stage) >= length]
    begin = origins.get(f"{_STAGES}.{late[0]}.from_epoch", "") if late else ""
    typed = any(one.key.startswith(_STAGES) for one in overrides)
    if typed or length < 1 or file_of(begin) in ("", file_of(origins.get(_EPOCHS, ""))):
        return []
    named = ", ".join(f"{_STAGES}.{i} (from epoch {_begins(stages[i])})" for i in late)
    is_one = len(late) == 1
    remark(
        f"{_EPOCHS}={length} ends before {named} of {begin} {'begins' if is_one else 'begin'};"
        f" {'it is' if is_one else 'they are'} left out of this run."
    )
    return [Override(_STAGES, stages[: late[0]], f"without what begins after {_EPOCHS}={length}: {begin}")]


def _begins(stage: dict[str, Any]) -> int:
    """The first epoch of a stage, counted from 0; -1 where it is none."""
    begin = stage.get("from_epoch")
    return begin if isinstance(begin, int) else -1


def tell_of_others_files(loaded: Loaded[Recipe], must_exist: bool = True) -> None:
    """Tells which files of annotations come from the recipe where the training annotations were typed over it.

    UserError for such a file that does not exist, if it must: it was never meant.
    """
    origins, data = loaded.origins, loaded.config.data
    if file_of(origins.get(_TRAIN, "")) != "command line":
        return
    found = {}
    for key in _OTHERS:
        value = getattr(data, key.removeprefix("data."))
        if value and origins.get(key, "command line") and file_of(origins.get(key, "command line")) != "command line":
            found[key] = value if isinstance(value, tuple) else (value,)
    missing = [(key, file) for key, files in found.items() for file in files if not os.path.lexists(file)]
    if must_exist and missing and not data.generated:
        key, file = missing[0]
        raise UserError(
            f"{origins[key]}: {key}={file} does not exist. It belongs to the recipe, and {_TRAIN} was typed: name the"
            f" file of your data, or leave it out by {key}=null."
        )
    if found:
        named = ", ".join(f"{key}={'null' if key != _OTHERS[0] else '[]'}" for key in found)
        remark(
            f"{_TRAIN} was typed, and {', '.join(found)} of the recipe {'is' if len(found) == 1 else 'are'} used with"
            f" it. For other data leave out what does not belong to it: {named}."
        )


def file_of(origin: str) -> str:
    """The file of an origin; `command line`, whatever the flag; '' of a default."""
    if not origin or origin.startswith(("command line", "--")):
        return "command line" if origin else ""
    return origin.rpartition(":")[0]
