"""Every option of a tree by its dotted key: what it may be, its default and what it is for.

In a key, `0` stands for any entry of a list, and NAME for a name that the user chooses. An entry that has a name, such
as a loss, is called by that name: `losses.smooth_ap.temperature`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shelfmark.config.errors import ConfigError
from shelfmark.config.shape import Shape
from shelfmark.config.suggestions import keys_meant

ANY_NAME = "NAME"
_UNSET = object()


@dataclass(frozen=True)
class Place:
    """An option, or a group of options. key: dotted, '' for the whole tree."""

    key: str
    shape: Shape

    @property
    def name(self) -> str:
        return self.key.rpartition(".")[2]

    @property
    def description(self) -> str:
        """One paragraph, on one line."""
        return " ".join(self.shape.description.partition("\n\n")[0].split())

    def members(self) -> list[Place]:
        """The options and groups of a group; [] of anything else."""
        keys = [] if self.shape.tag else self.shape.keys()
        return [self._below(name, shape) for name in keys if (shape := self.shape.child(name))]

    def groups(self) -> list[Place]:
        """The groups at this place: itself, each entry of a list or mapping, or each kind of named entry."""
        if self.shape.tag:
            return [self._below(name, self.shape.member({self.shape.tag: name})) for name in self.shape.choices]
        if self.shape.keys():
            return [self]
        entry = self.shape.entry
        if entry is None:
            return []
        return Place(self.key, entry).groups() if entry.tag else self._below(self._entry_name, entry).groups()

    def step(self, part: str, value: Any = None) -> Place | None:
        """The place below, by one part of a key; None if there is none. value: set at this place, in JSON's types."""
        if self.shape.tag and part in self.shape.choices:
            return self._below(part, self.shape.member({self.shape.tag: part}))
        below = self.shape.child(part, value)
        if below is not None:
            return self._below(part, below)
        entry = self.shape.entry
        if entry is None:
            return None
        inside = Place(self.key, entry) if entry.tag else self._below(self._entry_name, entry)
        return inside.step(part)

    @property
    def _entry_name(self) -> str:
        return "0" if self.shape.is_list else ANY_NAME

    def _below(self, part: str, shape: Shape) -> Place:
        return Place(f"{self.key}.{part}" if self.key else part, shape)


def all_groups(top: Place, seen: set[str] | None = None) -> Iterator[Place]:
    """Every group that holds options, from `top` down. A kind of group that stands in several places comes once.

    seen: the kinds of groups that came before; those below `top` are added to it.
    """
    seen = set() if seen is None else seen
    waiting = [top]
    while waiting:
        group = waiting.pop(0)
        if kind_of(group) not in seen:
            seen.add(kind_of(group))
            yield group
            waiting = [one for member in group.members() for one in member.groups()] + waiting


def kind_of(group: Place) -> str:
    """A name of the group's kind: groups of the same options have the same one."""
    return str(group.shape.schema.get("title", group.key))


def find(top: Shape, key: str, values: Any = _UNSET) -> tuple[Place, str]:
    """The place of a key as a user types it, and the key that it has in `values`.

    `[]` may stand for `.0`. values: a configuration in JSON's types, which says what `losses.0` is and which number
    `losses.smooth_ap` has. Without `values` the second result is ''. Raises ConfigError for an unknown key, with the
    key that the user may have meant.
    """
    place, path = Place("", top), []
    for part in key.replace("[]", ".0").split("."):
        found = place.step(part, values)
        if found is None:
            raise ConfigError([_unknown(top, key, place, part)])
        path.append(_number_in(values, part))
        values = _part_of(values, path[-1])
        place = Place(found.key, found.shape.member(values))
    return place, ".".join(path) if values is not _UNSET else ""


def value_at(values: Any, key: str) -> Any:
    """The value that a configuration in JSON's types has at a dotted key, which `find` gave."""
    for part in key.split("."):
        values = _part_of(values, part)
    return values


def _number_in(values: Any, part: str) -> str:
    """The number of the entry that is called `part`, or the part itself."""
    if isinstance(values, list) and not part.isdecimal():
        return next((str(i) for i, one in enumerate(values) if isinstance(one, dict) and one.get("name") == part), part)
    return part


def _part_of(values: Any, part: str) -> Any:
    if isinstance(values, Mapping):
        return values.get(part, _UNSET)
    is_entry = isinstance(values, list) and part.isdecimal() and int(part) < len(values)
    return values[int(part)] if is_entry else _UNSET


def _unknown(top: Shape, key: str, place: Place, part: str) -> str:
    everywhere = {member.key: member.shape for group in all_groups(Place("", top)) for member in group.members()}
    siblings = [one.name for one in place.members() or place.groups()]
    meant = keys_meant(place.key, part, siblings, everywhere) if part else []
    hint = f" Did you mean {' or '.join(meant)}?" if meant else ""
    inside = f" {place.key or 'The top level'} has: {', '.join(siblings)}." if siblings else ""
    return f"{key or repr(key)} is not an option.{hint}{inside}"
