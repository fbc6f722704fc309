"""What an old command line comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from shelfmark.config.overrides import Override
from shelfmark.migrate.command import Line

RUN_FOLDER = "{run}"
"""In the options of a translation: the folder of the run that its recipe and overrides make."""


@dataclass(frozen=True)
class Translation:
    """What an old command line comes to.

    recipe: a file below configs/, without ending. overrides: all that the command says, with what the recipe has
    already. options: words such as `--num-gpus 4`. notes: for the user. environment: variables set for the command.
    command: the words behind `shelfmark`; `evaluate` runs once for each file of `tests`. launcher: words in place of
    `shelfmark train`. reads: where the command takes its other options from.
    """

    dialect: str
    recipe: str
    overrides: list[Override]
    options: list[str]
    notes: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ("train",)
    tests: tuple[str, ...] = ()
    launcher: tuple[str, ...] = ()
    reads: Literal["recipe", "checkpoint"] = "recipe"


class Dialect(NamedTuple):
    """name: of the code base. example: a command line of it."""

    name: str
    example: str
    translate: Callable[[Line], Translation]
