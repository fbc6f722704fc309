"""Values of the command line: what was typed, and its place in the tree."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from shelfmark.config.bounds import MAX_DEPTH
from shelfmark.config.errors import shown
from shelfmark.config.nodes import DEFAULT, Node, node_of, place_in_list, plain, replaced
from shelfmark.config.shape import Shape
from shelfmark.config.yaml_lines import blank_missing, parse, scalar
from shelfmark.core.errors import UserError

_TEXT_CHARS = 300


@dataclass(frozen=True)
class Override:
    """One value from the command line. key: dotted, `losses.0.weight`; value: in YAML's types."""

    key: str
    value: Any
    origin: str


def parse_override(text: str) -> Override:
    """`optim.lr=0.1` as an override. The value is a YAML scalar, a quoted text, or a list or group in brackets.

    Nothing behind the `=` is the empty text; `null` is null. A `#` or `: ` within an unquoted value is part of it.
    """
    key, equals, value = text.partition("=")
    origin = f"command line: {text if len(text) <= _TEXT_CHARS else f'{text[:_TEXT_CHARS]} ...'}"
    if not equals:
        if blank_missing(text):
            raise UserError(f"{shown(text)}: on the command line an option is given as {text.replace(':', '=', 1)}.")
        raise UserError(f"{shown(text)} is not understood: an option is given as key=value, for example optim.lr=0.1.")
    key = key.strip()
    if not all(key.split(".")):
        raise UserError(f"{origin}: {key!r} is not a key; write its parts with one dot between, as in optim.lr=0.1.")
    if key.count(".") >= MAX_DEPTH or len(key) > _TEXT_CHARS:
        raise UserError(f"command line: {shown(key)} is longer than the key of any option.")
    value = value.strip()
    if value.startswith(("[", "{", '"', "'")):
        return Override(key, plain(_in_brackets(value, origin)), origin)
    try:
        return Override(key, scalar(value) if value else "", origin)
    except UserError as error:
        raise UserError(f"command line: {key}={shown(value)}: {error}") from None


def _in_brackets(value: str, origin: str) -> Node:
    try:
        return parse(value, lambda line: origin)
    except UserError as error:
        if any(value.count(first) > value.count(last) for first, last in ("[]", "{}")):
            raise UserError(f"{error} A shell takes an argument apart at blanks: put all of it in quotes.") from None
        raise


def put(tree: Node, override: Override, shape: Shape) -> Node:
    """A copy of the tree with the override's value at its key; groups that are not there yet are made.

    shape: of the tree. Raises UserError where the key leads into a value that has no parts.
    """
    _check_text(override)
    return _put(tree, override.key.split("."), 0, override, shape)


def _check_text(override: Override) -> None:
    try:
        json.dumps(override.value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise UserError(f"command line: {override.key}={override.value!a} is not UTF-8 text.") from None


def _put(place: Node, parts: list[str], depth: int, override: Override, shape: Shape | None) -> Node:
    """A copy of `place` with the override's value at parts[depth:]; groups that are not there yet are made."""
    if depth == len(parts):
        return replaced(place, node_of(override.value, override.origin))
    part = parts[depth]
    here = ".".join(parts[:depth])
    below = shape.child(part, plain(place)) if shape else None
    old = place.child(part)
    if old is None or (old.value is None and depth + 1 < len(parts)):
        old = _unset(below, override.origin) if depth + 1 < len(parts) else Node(None, DEFAULT)
    if isinstance(place.value, list):
        return _put_in_list(place, old, parts, depth, override, below)
    if not isinstance(place.value, dict):
        raise UserError(
            f"{override.origin}: {here}={shown(place.value)} ({place.origin}) is one value; it has no part {part!r}."
        )
    changed = {**place.value, part: _put(old, parts, depth + 1, override, below)}
    if shape and part == shape.tag:
        # The union's member changes: defaults that the new member does not have are dropped, as the user set none.
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
    """The node for a key below an option that nobody set: a list's default entries, or an empty group."""
    if shape is None or not shape.is_list:
        return Node({}, origin)
    return node_of(shape.default if isinstance(shape.default, list) else [], DEFAULT)
