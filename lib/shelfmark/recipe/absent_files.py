"""Files of a recipe's data that are not there: how they are made stands at the top of the recipe."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from shelfmark.config.load import Loaded
from shelfmark.core.door import command_line
from shelfmark.core.errors import UserError
from shelfmark.data.layouts import LAYOUTS
from shelfmark.recipe.fitted import file_of
from shelfmark.recipe.tree import Recipe

_PREPARES = re.compile(r"^#.*?\bshelfmark prepare (.+)$")


def require_prepared(loaded: Loaded[Recipe]) -> None:
    """UserError, with the command that makes it, for the first file of annotations that a recipe names and is absent.

    Only of recipes that begin with a `shelfmark prepare` command; what was typed or is generated does not count.
    """
    if loaded.config.data.generated:
        return
    for key, file in _annotations(loaded.config):
        made_by = [] if os.path.lexists(file) else _prepare_command(file_of(loaded.origins.get(key, "")))
        if made_by:
            here = "" if file.is_absolute() else f" in {Path.cwd()}"
            layout = LAYOUTS.get(made_by[0])
            where = layout.where() if layout else ""
            raise UserError(
                f"{loaded.origins[key]}: {key}={file} does not exist{here}. It is made from the original data by\n"
                f"  {command_line('prepare', *made_by)}\n{where}".rstrip()
            )


def _annotations(recipe: Recipe) -> Iterator[tuple[str, Path]]:
    data = recipe.data
    for name in ("train_json", "val_json", "retrieval_json"):
        if (file := getattr(data, name)) is not None:
            yield f"data.{name}", file
    if recipe.discovery.annotations is not None:
        yield "discovery.annotations", recipe.discovery.annotations


def _prepare_command(config: str) -> list[str]:
    """The words behind `shelfmark prepare` in the comment that the config begins with; [] where there are none."""
    if not os.path.isfile(config):
        return []
    for line in Path(config).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if told := _PREPARES.match(line):
            return shlex.split(told[1])
    return []
