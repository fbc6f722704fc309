"""What a flag sets: functions of the text of its value, and of the values of all flags."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from shelfmark.migrate.values import Reading, Values, one_of, to_float, to_int

Reader = Callable[[str, Values], Reading]


def whole(key: str) -> Reader:
    return lambda text, values: [(key, to_int(text))]


def number(key: str) -> Reader:
    return lambda text, values: [(key, to_float(text))]


def wholes(key: str, separator: str | None = None) -> Reader:
    """A list of whole numbers; None separates them at spaces."""
    return lambda text, values: [(key, [to_int(part) for part in text.split(separator)])]


def words(key: str) -> Reader:
    """The text as it is."""
    return lambda text, values: [(key, text)]


def always(key: str, value: Any) -> Reader:
    """One value, whatever was typed."""
    return lambda text, values: [(key, value)]


def choice(meanings: Mapping[str, Reading]) -> Reader:
    return lambda text, values: meanings[one_of(text, meanings)]


def renamed(key: str, names: Mapping[str, Any]) -> Reader:
    """One option, by the names that the original has for its values."""
    return lambda text, values: [(key, names[one_of(text, names)])]


def any_of(*choices: str) -> Reader:
    """Sets nothing, and refuses what the original would."""
    return choice({name: [] for name in choices})


def adam_or_sgd(momentum: float) -> Reader:
    """momentum: that of sgd."""
    return choice({"adam": [("optim.name", "adam")], "sgd": [("optim.name", "sgd"), ("optim.momentum", momentum)]})


def folder_in(subfolder: str) -> Reader:
    """Images stand in `subfolder` of the folder that was typed."""
    return lambda text, values: [("data.root", str(PurePosixPath(text) / subfolder))]


def run_name(text: str) -> Reading:
    return [("name", re.sub(r"[^A-Za-z0-9._-]+", "-", text))] if text else []


def finetune(text: str, values: Values) -> list[str]:
    """The words that load weights alone, as the originals do."""
    return ["--RESUME_MODEL", text, "--mode", "finetune"] if text else []
