"""Derived files and the one question about them: do they fit what is needed now?

Stored features, an index and a stage of discovery are each a folder whose manifest holds facts: the options and hashes
that shaped the files, by dotted name, such as `model.last_stride`. A folder that fits is used again. One that does not
is made anew or refused, and the message names the facts that differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shelfmark.core.files import plain

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Difference:
    """A fact whose value changed. before, now: the two values, None where the fact is missing."""

    name: str
    before: Any
    now: Any

    def __str__(self) -> str:
        if _is_hash(self.before) and _is_hash(self.now):
            return f"{self.name} changed"
        return f"{self.name} was {self.before!r}, now {self.now!r}"


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested facts by dotted name, in JSON's types: {"model": {"neck": "bn"}} is {"model.neck": "bn"}."""
    found: dict[str, Any] = {}
    for name, item in value.items():
        found |= flat(item, f"{prefix}{name}.") if isinstance(item, Mapping) and item else {f"{prefix}{name}": item}
    return plain(found)


def differences(before: Facts, now: Facts, defaults: Facts | None = None) -> list[Difference]:
    """The facts that differ, sorted by name; empty where the folder fits. Facts are by dotted name, in JSON's types.

    defaults: values for facts that `before` lacks because Shelfmark did not write them then.
    """
    old = {**{name: value for name, value in (defaults or {}).items() if name in now}, **before}
    names = sorted(old.keys() | now.keys())
    pairs = [Difference(name, _value(old, name), _value(now, name)) for name in names]
    return [pair for pair in pairs if pair.before != pair.now]


def listed(found: Iterable[Difference], most: int = 5) -> str:
    """The differences for a message, the first `most` of them in words."""
    words = [str(one) for one in found]
    more = [f"and {len(words) - most} more"] if len(words) > most else []
    return "; ".join([*words[:most], *more])


def _value(facts: Facts, name: str) -> Any:
    # An empty group means the same as a missing one.
    value = facts.get(name)
    return None if value == {} else value


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None
