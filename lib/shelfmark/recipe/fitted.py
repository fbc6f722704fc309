"""What a recipe brings that does not fit what was typed over it: a warm-up that is too long, files of other data."""

from __future__ import annotations

import os

from shelfmark.config.load import Loaded
from shelfmark.config.overrides import Override
from shelfmark.core.errors import UserError
from shelfmark.core.log import remark
from shelfmark.recipe.tree import Recipe

_WARMUP, _EPOCHS, _STAGE = "optim.schedule.warmup_epochs", "train.num_epochs", "train.stages.0.from_epoch"
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
    from_where = _place(origins.get(_WARMUP, ""))
    if warmup < length or from_where == "command line" or from_where == _place(origins.get(end, "")):
        return []
    shorter = length * _SHARE
    remark(
        f"{_WARMUP}={warmup:g} ({origins[_WARMUP]}) does not end within {length} {'epochs' if length > 1 else 'epoch'};"
        f" it is {shorter:g} in this run. {_WARMUP}=0 leaves it out."
    )
    return [Override(_WARMUP, shorter, f"shortened from {warmup:g} of {origins[_WARMUP]}")]


def tell_of_others_files(loaded: Loaded[Recipe], must_exist: bool = True) -> None:
    """Tells which files of annotations come from the recipe where the training annotations were typed over it.

    UserError for such a file that does not exist, if it must: it was never meant.
    """
    origins, data = loaded.origins, loaded.config.data
    if _place(origins.get(_TRAIN, "")) != "command line":
        return
    found = {}
    for key in _OTHERS:
        value = getattr(data, key.removeprefix("data."))
        if value and origins.get(key, "command line") and _place(origins.get(key, "command line")) != "command line":
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


def _place(origin: str) -> str:
    """The file of an origin, or `command line`, whatever the flag."""
    if not origin or origin.startswith(("command line", "--")):
        return "command line" if origin else ""
    return origin.rpartition(":")[0]
