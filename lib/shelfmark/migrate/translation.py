"""What an old command line comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from shelfmark.config.load import Override
from shelfmark.migrate.command import Line, shell_word

RUN_FOLDER = "{run}"
"""In a translation's options: the folder of the run that its recipe and overrides make."""


@dataclass(frozen=True)
class Translation:
    """What an old command line comes to.

    recipe: a file of configs/<folder>, without ending. overrides: all that the command says, the recipe's own values
    too. options: words such as `--num-gpus 4`. tests: annotations to evaluate; none of them means training.
    environment: `NAME=value` in front. launcher: words in place of `shelfmark train`. notes: for the user.
    command: the words behind `shelfmark`, where there are no tests. reads: what it takes its options from.
    """

    dialect: str
    recipe: str
    overrides: list[Override]
    options: list[str]
    tests: tuple[str, ...]
    environment: list[str]
    launcher: list[str]
    notes: list[str]
    folder: str = "retrieval"
    command: tuple[str, ...] = ("train",)
    reads: Literal["recipe", "checkpoint"] = "recipe"


class Dialect(NamedTuple):
    what: str
    example: str
    translate: Callable[[Line], Translation]


def environment_words(environment: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in environment.items()]


def prepare_note(what: str, folder: PurePosixPath) -> str:
    return f"the data, once: shelfmark prepare {what} --source {shell_word(str(folder))}"
