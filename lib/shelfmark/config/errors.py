"""Every problem of a configuration at once, in words that name the place, the value and the way out."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shelfmark.config.nodes import Node, plain
from shelfmark.config.shape import Shape
from shelfmark.config.suggestions import by_common_word, keys_meant
from shelfmark.config.yaml_lines import blank_missing
from shelfmark.core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from pydantic import ValidationError

_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_VALUE_SHOWN_CHARS = 60


class ConfigError(UserError):
    """The configuration is wrong. problems: one sentence or two for each thing to mend."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        if len(self.problems) == 1:
            super().__init__(self.problems[0])
        else:
            super().__init__(f"{len(self.problems)} problems in the configuration:\n  " + "\n  ".join(self.problems))


def problems_of(error: ValidationError, tree: Node, shape: Shape) -> list[str]:
    """pydantic's findings in our words, in the order of the tree."""
    found = [(detail, _locate(detail["loc"], tree, shape)) for detail in error.errors(include_url=False)]
    keys = [place.parts for _, place in found]
    # A list whose entries are bad is also too short, and `number or list` is neither: the entries say enough.
    return [
        _problem(detail, place, shape)
        for detail, place in found
        if detail["type"] == "missing" or not any(_is_below(key, place.parts) for key in keys)
    ]


def shown(value: Any) -> str:
    """A value as a user would type it, cut where it is long."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_SHOWN_CHARS else f"{text[: _VALUE_SHOWN_CHARS - 4]} ..."


def _is_below(key: Sequence[str], above: Sequence[str]) -> bool:
    return len(key) > len(above) and key[: len(above)] == above


@dataclass(frozen=True)
class _Place:
    """The place of a finding. group: the node that holds it, from which the neighbouring keys follow."""

    parts: tuple[str, ...]
    node: Node
    shape: Shape | None
    group: Node
    group_shape: Shape | None

    @property
    def key(self) -> str:
        return ".".join(self.parts)

    @property
    def is_typed(self) -> bool:
        """Whether the value stands on the command line under this very key."""
        return self.node.origin.startswith(f"command line: {self.key}=")

    def says(self, sentence: str) -> str:
        """The sentence behind the file and line, or the flag, that set the value."""
        return f"{'command line' if self.is_typed else self.node.origin}: {sentence}"


def _locate(loc: Sequence[str | int], tree: Node, shape: Shape) -> _Place:
    """Follows pydantic's path through what was set. A union's member name is in the path, not in the tree."""
    parts: list[str] = []
    group, node = tree, tree
    group_shape: Shape | None = None
    here: Shape | None = shape
    for part in loc:
        child = node.child(part)
        if child is not None:
            group, group_shape = node, here
            here = here.child(part, plain(node)) if here else None
            node = child
            parts.append(str(part))
    return _Place(tuple(parts), node, here, group, group_shape)


def _problem(detail: Mapping[str, Any], place: _Place, top: Shape) -> str:
    kind = detail["type"]
    if kind in _UNKNOWN:
        return place.says(_unknown_key(place, top))
    if kind == "missing" and isinstance(place.node.value, dict):
        return place.says(_missing(place, str(detail["loc"][-1])))
    if kind == "union_tag_not_found" and place.shape:
        return place.says(_missing(place, place.shape.tag))
    if kind == "union_tag_invalid" and place.shape:
        named = place.node.value[place.shape.tag]
        inner = _Place((*place.parts, place.shape.tag), named, place.shape, place.node, place.shape)
        return inner.says(f"{inner.key}={shown(plain(named))} is not {_one_of(place.shape, plain(named))}")
    if kind in ("value_error", "assertion_error"):
        return _section_problem(place, str(detail["ctx"]["error"]))
    return place.says(_mismatch(place, detail["msg"]))


def _mismatch(place: _Place, fallback: str) -> str:
    value = plain(place.node)
    if place.shape is None:
        return f"{place.key}={shown(value)}: {fallback}."
    if place.shape.choices and not place.shape.tag:
        return f"{place.key}={shown(value)} is not {_one_of(place.shape, value)}"
    said = f"{place.key}={shown(value)} must be {place.shape.expected()}."
    return said + (_as_group(place, value) or _rewrite(place, value))


def _one_of(shape: Shape, value: Any) -> str:
    names = [str(choice) for choice in shape.choices]
    meant = did_you_mean(str(value), names)
    return f"one of: {', '.join(name or repr(name) for name in names)}." + (
        f" Did you mean {meant!r}?" if meant else ""
    )


def _as_group(place: _Place, value: Any) -> str:
    """How a single value for a group, or one group for a list of them, is to be written; empty for anything else."""
    shape = place.shape
    if shape is None or value is None:
        return ""
    entry = shape.entry if shape.is_list else shape
    if entry is None or not (entry.tag or entry.keys()):
        return ""
    if isinstance(value, str) and (missing := blank_missing(value)):
        return f" {missing}"
    inner = entry.tag if entry.tag and value in entry.choices else ""
    if inner or (isinstance(value, dict) and shape.is_list):
        group = f"{{{inner}: {value}}}" if inner else _flow(value)
        return f" Write {f'[{group}]' if shape.is_list else group}."
    return "" if shape.is_list or isinstance(value, dict | list) else _option_of_group(place, value)


def _option_of_group(place: _Place, value: Any) -> str:
    """`model=resnet50`: the option of the group that the value was most likely meant for."""
    keys = place.shape.keys() if place.shape else []
    named = by_common_word(place.key, place.parts[-1], keys, [f"{place.key}.{name}" for name in keys])
    usual = [f"{place.key}.{name}" for name in ("name", "type") if name in keys]
    found = next((key for key in (*named, *usual) if key.startswith(f"{place.key}.")), "")
    return f" Did you mean {found}={value}?" if found else ""


def _flow(group: Mapping[str, Any]) -> str:
    """A group as YAML in braces, as a user would type it."""
    return f"{{{', '.join(f'{key}: {json.dumps(value)}' for key, value in group.items())}}}".replace('"', "")


def _rewrite(place: _Place, value: Any) -> str:
    """How to write the value that the user meant; empty where that is unclear."""
    kind = place.shape.schema.get("type") if place.shape else None
    if value is None:
        return " Leave it out to keep the default."
    if kind == "string" and isinstance(value, int | float):
        quoted = f"'{json.dumps(value)}'"
        # The shell takes the outer pair away.
        return f' Quote it twice: "{quoted}".' if place.is_typed else f" Put it in quotes: {quoted}."
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return f" Write {int(value)}."
    if kind in ("integer", "number") and isinstance(value, str):
        return _without_quotes(value, kind)
    return ""


def _without_quotes(text: str, kind: str) -> str:
    try:
        number = int(text) if kind == "integer" else float(text)
    except ValueError:
        return ""
    return f" Write {number} without quotes." if math.isfinite(number) else ""


def _missing(place: _Place, key: str) -> str:
    whole = f"{place.key}.{key}" if place.key else key
    shape = place.shape.child(key, plain(place.node)) if place.shape else None
    if place.shape and place.shape.tag == key:
        allowed = f"; it is one of: {', '.join(place.shape.choices)}"
    else:
        allowed = f"; it must be {shape.expected()}" if shape else ""
    typed = did_you_mean(key, place.node.value)
    return f"{whole} is missing{allowed}." + (f" Is {typed!r} meant to be {key!r}?" if typed else "")


def _unknown_key(place: _Place, top: Shape) -> str:
    value = "" if isinstance(place.node.value, dict) else f"={shown(plain(place.node))}"
    prefix, leaf = ".".join(place.parts[:-1]), place.parts[-1]
    if leaf == "_base_":
        return f"{place.key} is not an option here: `_base_` stands in a file, at its top level."
    siblings = place.group_shape.keys(plain(place.group)) if place.group_shape else []
    said = f"{place.key}{value} is not an option."
    if "." in leaf:
        return f"{said} In a file keys are nested; the dotted form belongs on the command line."
    meant = keys_meant(prefix, leaf, siblings, dict(top.below()))
    if meant:
        said += f" Did you mean {' or '.join(meant)}?"
    return f"{said} {prefix or 'The top level'} has: {', '.join(siblings)}."


def _section_problem(place: _Place, text: str) -> str:
    """A check over several keys: said of the section, at the line of the key that its text begins with."""
    named = re.match(r"[\w.]+(?==)", text)
    node = place.node
    for part in named.group().split(".") if named else ():
        node = node.child(part) or node
    joint = "" if not place.key else ("." if named else ": ")
    at = _Place((*place.parts, *(named.group().split(".") if named else ())), node, None, place.group, None)
    return at.says(f"{place.key}{joint}{text}" + ("" if text.endswith((".", "?")) else "."))
