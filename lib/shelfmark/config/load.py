"""Files and overrides into one validated, frozen tree."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from shelfmark.config.bounds import MAX_DEPTH, problems_in
from shelfmark.config.errors import ConfigError, problems_of, shown
from shelfmark.config.nodes import DEFAULT, Node, merged, node_of, origins, place_in_list, plain
from shelfmark.config.shape import Shape
from shelfmark.config.yaml_lines import parse, read_file, scalar
from shelfmark.core.errors import UserError, did_you_mean

Tree = TypeVar("Tree", bound=BaseModel)

BASE = "_base_"
"""The key, at the top of a file, that names the file or files which it builds on."""
_TEXT_CHARS = 300
_MAX_FILES = 64
"""Read for one configuration: a few that name each other twice stand for thousands."""


@dataclass(frozen=True)
class Override:
    """One value from the command line. key: dotted, `losses.0.weight`; value: in YAML's types."""

    key: str
    value: Any
    origin: str


@dataclass(frozen=True)
class Loaded(Generic[Tree]):
    """A configuration. origins: dotted key to the file and line, or flag, that set it; defaults are absent."""

    config: Tree
    origins: dict[str, str]


def load(schema: type[Tree], file: Path | None = None, overrides: Sequence[Override] = ()) -> Loaded[Tree]:
    """The tree that `file` (with the files it builds on) and then the overrides, in order, set.

    Raises ConfigError with all problems at once; UserError for a file that cannot be read as YAML.
    """
    tree = _with_bases(_existing(file), (), []) if file else Node({}, "configuration")
    shape = Shape.of(schema)
    problems: list[str] = []
    for override in overrides:
        try:
            _check_text(override)
            tree = _put(tree, override.key.split("."), 0, override, shape)
        except UserError as error:
            problems.append(str(error))
    if beyond := list(problems_in(tree)):
        raise ConfigError([*problems, *beyond])
    try:
        # Through JSON, strict mode takes a list for a tuple and text for a path, yet neither true nor "3" for a number.
        # Defaults go the same way: a tree that validates its defaults would find a Path where JSON has text.
        config = schema.model_validate_json(json.dumps(shape.with_defaults(plain(tree))), strict=True)
    except ValidationError as error:
        raise ConfigError([*problems, *problems_of(error, tree, shape)]) from None
    if problems:
        raise ConfigError(problems)
    return Loaded(config, origins(tree))


def parse_override(text: str) -> Override:
    """`optim.lr=0.1` as an override. The value is a YAML scalar, a quoted text, or a list or group in brackets.

    Nothing behind the `=` is the empty text; `null` is null. A `#` or `: ` within an unquoted value is part of it.
    """
    key, equals, value = text.partition("=")
    origin = f"command line: {text if len(text) <= _TEXT_CHARS else f'{text[:_TEXT_CHARS]} ...'}"
    if not equals:
        raise UserError(f"{shown(text)} is not understood: an option is given as key=value, for example optim.lr=0.1.")
    key = key.strip()
    if not all(key.split(".")):
        raise UserError(f"{origin}: {key!r} is not a key; write its parts with one dot between, as in optim.lr=0.1.")
    if key.count(".") >= MAX_DEPTH or len(key) > _TEXT_CHARS:
        raise UserError(f"command line: {shown(key)} is longer than the key of any option.")
    value = value.strip()
    if value.startswith(("[", "{", '"', "'")):
        return Override(key, plain(parse(value, lambda line: origin)), origin)
    try:
        return Override(key, scalar(value) if value else "", origin)
    except UserError as error:
        raise UserError(f"command line: {key}={shown(value)}: {error}") from None


def _with_bases(file: Path, above: tuple[Path, ...], read: list[Path]) -> Node:
    """The file's tree on top of the trees of its bases; of several bases, the later one rules. read: so far."""
    read.append(file)
    if len(read) > _MAX_FILES:
        raise ConfigError([f"{_shown_path(read[0])}: more than {_MAX_FILES} files, through their `{BASE}` lines."])
    tree = read_file(file, _shown_path(file))
    named = tree.value.pop(BASE, Node(None, tree.origin))
    result = Node({}, tree.origin)
    for base in _base_names(named):
        path = file.parent / base.value
        chain = (*above, file)
        if not os.path.isfile(path):
            raise ConfigError([f"{base.origin}: {BASE} names {_shown_path(path)}, which {_lack(path)}"])
        if path.resolve() in [one.resolve() for one in chain]:
            names = " -> ".join(_shown_path(one) for one in (*chain, path))
            raise ConfigError([f"{base.origin}: `{BASE}` goes round in a circle: {names}."])
        result = merged(result, _with_bases(path, chain, read))
    return merged(result, tree)


def _base_names(named: Node) -> list[Node]:
    nodes = named.value if isinstance(named.value, list) else [named] if named.value is not None else []
    for node in nodes:
        if not isinstance(node.value, str) or not node.value:
            raise ConfigError([f"{node.origin}: {BASE}={shown(plain(named))} must be a file, or a list of files."])
    return nodes


def _existing(file: Path) -> Path:
    if not os.path.isfile(file):
        raise ConfigError([f"{_shown_path(file)} {_lack(file)}"])
    return file


def _lack(path: Path) -> str:
    """Why a path is no config file, and the file that may have been meant."""
    if os.path.isdir(path):
        return "is a folder; name a YAML file in it."
    if os.path.exists(path):
        return "is not a regular file."
    known = {one.stem: one for folder in (Path("configs"), path.parent) for one in sorted(folder.glob("*.y*ml"))}
    near = did_you_mean(path.stem, known)
    return "does not exist." + (f" Did you mean {_shown_path(known[near])}?" if near else "")


def _shown_path(path: Path) -> str:
    """Relative to the working folder where it lies below, so that `file:line` can be clicked."""
    whole, here = Path(os.path.abspath(path)), Path.cwd()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else str(whole)


def _check_text(override: Override) -> None:
    try:
        json.dumps(override.value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise UserError(f"command line: {override.key}={override.value!a} is not UTF-8 text.") from None


def _put(place: Node, parts: list[str], depth: int, override: Override, shape: Shape | None) -> Node:
    """A copy of `place` with the override's value at parts[depth:]; groups that are not there yet are made."""
    if depth == len(parts):
        return node_of(override.value, override.origin)
    part = parts[depth]
    here = ".".join(parts[:depth])
    below = shape.child(part, plain(place)) if shape else None
    old = place.child(part)
    if old is None or old.value is None:
        old = _unset(below, override.origin)
    if isinstance(place.value, list):
        return _put_in_list(place, old, parts, depth, override, below)
    if not isinstance(place.value, dict):
        raise UserError(
            f"{override.origin}: {here}={shown(place.value)} ({place.origin}) is one value; it has no part {part!r}."
        )
    changed = {**place.value, part: _put(old, parts, depth + 1, override, below)}
    if shape and part == shape.tag:
        # Another member of the union: a default that it does not know was never the user's wish.
        known = shape.keys({part: override.value})
        changed = {key: item for key, item in changed.items() if item.origin != DEFAULT or key in known}
    return Node(changed, override.origin if place.origin == DEFAULT else place.origin)


def _put_in_list(place: Node, old: Node, parts: list[str], depth: int, override: Override, below: Shape | None) -> Node:
    part, here = parts[depth], ".".join(parts[:depth])
    length = len(place.value)
    number = place_in_list(part)
    if number is None:
        raise UserError(f"{override.origin}: {here} is a list; name an entry by its number, {here}.0, not {part!r}.")
    if number > length:
        raise UserError(f"{override.origin}: {here} has {length} entries; {here}.{length} would add the next one.")
    entries = list(place.value)
    entries[number : number + 1] = [_put(old, parts, depth + 1, override, below)]
    return Node(entries, override.origin if depth + 1 == len(parts) else place.origin)


def _unset(shape: Shape | None, origin: str) -> Node:
    """What an override steps into where nothing was set: a list's default entries, or an empty group."""
    if shape is None or not shape.is_list:
        return Node({}, origin)
    return node_of(shape.default if isinstance(shape.default, list) else [], DEFAULT)
