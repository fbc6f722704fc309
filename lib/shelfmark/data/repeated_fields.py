"""Fields that stand twice in one record of JSON. A parser takes the last of them and says nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

_BLANKS_BEFORE_COLON = (b" :", b"\t:", b"\n:", b"\r:")


def repeated_fields(text: bytes, records: Sequence[dict[str, Any]]) -> list[tuple[int, str]]:
    """(index of the record, name) of each field that is repeated, also within values.

    text: the records as they stand in the file, with commas between them. records: the same, parsed.
    """
    num_keys = sum(map(len, records))
    # As many colons as keys: no colon is in a text, and no key was lost.
    if text.count(b":") == num_keys:
        return []
    if b'\\"' not in text and not any(blank in text for blank in _BLANKS_BEFORE_COLON):
        # Then a quote before a colon ends a key.
        num_keys += sum(_num_keys(value) for record in records for value in record.values())
        if text.count(b'":') == num_keys:
            return []
    return _repeated(text)


def _num_keys(value: Any) -> int:
    """The keys inside of a value."""
    if type(value) is dict:
        return len(value) + sum(map(_num_keys, value.values()))
    if type(value) is list:
        return sum(map(_num_keys, value))
    return 0


class _Names(list[str]):
    """The repeated names in an object, in place of the object."""


def _repeated(text: bytes) -> list[tuple[int, str]]:
    found = json.loads(b"[" + text + b"]", object_pairs_hook=_names)
    return [(index, name) for index, one in enumerate(found) for name in dict.fromkeys(_inner(one))]


def _names(pairs: list[tuple[str, Any]]) -> _Names:
    counts = Counter(name for name, _ in pairs)
    own = [name for name, count in counts.items() if count > 1]
    return _Names(own + [name for _, value in pairs for name in _inner(value)])


def _inner(value: Any) -> list[str]:
    if isinstance(value, _Names):
        return list(value)
    if type(value) is list:
        return [name for one in value for name in _inner(one)]
    return []
