"""Makes one validated, frozen tree of files and overrides."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from shelfmark.config.bounds import problems_in
from shelfmark.config.errors import ConfigError, problems_of
from shelfmark.config.files import read_config
from shelfmark.config.nodes import Node, origins, plain
from shelfmark.config.overrides import Override, put
from shelfmark.config.renamed import present_overrides, present_tree
from shelfmark.config.section import Section
from shelfmark.config.shape import Shape
from shelfmark.config.taken_out import without_taken_out
from shelfmark.core.errors import UserError

Tree = TypeVar("Tree", bound=BaseModel)


@dataclass(frozen=True)
class Loaded(Generic[Tree]):
    """A configuration. origins: dotted key to the file and line, or flag, that set it; defaults are absent."""

    config: Tree
    origins: dict[str, str]


def load(schema: type[Tree], file: Path | None = None, overrides: Sequence[Override] = ()) -> Loaded[Tree]:
    """The tree that `file` (with the files it builds on) and then the overrides, in order, set.

    Raises ConfigError with all problems at once; UserError for a file that cannot be read as YAML.
    """
    shape = Shape.of(schema)
    problems: list[str] = []
    tree = without_taken_out(_set_by(file, overrides, shape, problems), shape, problems)
    if beyond := list(problems_in(tree)):
        raise ConfigError([*problems, *beyond])
    try:
        # Through JSON, strict mode takes a list for a tuple and text for a path, yet neither true nor "3" for a number.
        # Defaults go the same way: a tree that validates its defaults would find a Path where JSON has text.
        config = schema.model_validate_json(json.dumps(shape.with_defaults(_values(schema, tree))), strict=True)
    except ValidationError as error:
        raise ConfigError([*problems, *problems_of(error, tree, shape)]) from None
    if problems:
        raise ConfigError(problems)
    return Loaded(config, origins(tree))


def as_set(schema: type[BaseModel], file: Path | None, overrides: Sequence[Override]) -> tuple[Any, dict[str, str]]:
    """What `file` and then the overrides set, as it was set: unchecked, without defaults. With the origins."""
    tree = _set_by(file, overrides, Shape.of(schema), [])
    return plain(tree), origins(tree)


def _set_by(file: Path | None, overrides: Sequence[Override], shape: Shape, problems: list[str]) -> Node:
    """The tree. problems: those of the overrides are added."""
    tree = read_config(file, present_tree) if file else Node({}, "configuration")
    for override in present_overrides(overrides):
        try:
            tree = put(tree, override, shape)
        except UserError as error:
            problems.append(str(error))
    return tree


def _values(schema: type[BaseModel], tree: Node) -> Any:
    values = plain(tree)
    return schema.completed(values) if issubclass(schema, Section) and isinstance(values, dict) else values
