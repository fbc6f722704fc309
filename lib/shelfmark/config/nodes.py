"""A value that remembers where it was set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DEFAULT = "default"
"""The origin of what nobody set."""


@dataclass
class Node:
    """One value of a config file or command line.

    value: a scalar, a list of nodes, or nodes by key. origin: `configs/shop.yaml:12`, or what was typed.
    takes_out: the value is null, and stands in the place of another that was set before it.
    """

    value: Any
    origin: str
    takes_out: bool = False

    def child(self, part: str | int) -> Node | None:
        """The node one step down, or None where there is none."""
        if isinstance(self.value, dict):
            return self.value.get(str(part))
        if isinstance(self.value, list) and (number := place_in_list(part)) is not None and number < len(self.value):
            return self.value[number]
        return None


def place_in_list(part: str | int) -> int | None:
    """The entry's number that a part of a key is, None where it is none."""
    text = str(part)
    return int(text) if text.isdecimal() and len(text) < 10 else None


def node_of(value: Any, origin: str) -> Node:
    """Plain dicts, lists and scalars as nodes that all come from one place."""
    if isinstance(value, dict):
        return Node({str(key): node_of(item, origin) for key, item in value.items()}, origin)
    if isinstance(value, list | tuple):
        return Node([node_of(item, origin) for item in value], origin)
    return Node(value, origin)


def plain(node: Node) -> Any:
    """The node's value in dicts, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: plain(item) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return node.value


def merged(base: Node, over: Node) -> Node:
    """`over` on top of `base`: groups of keys join, key by key; anything else, lists too, replaces."""
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return replaced(base, over)
    joined = dict(base.value)
    for key, item in over.value.items():
        joined[key] = merged(joined[key], item) if key in joined else item
    return Node(joined, over.origin)


def replaced(base: Node | None, over: Node) -> Node:
    """`over` in the place of `base`, without joining; each null in it notes whether it takes something out."""
    if base is None:
        return over
    if over.value is None:
        return Node(None, over.origin, takes_out=base.value is not None or base.takes_out)
    if isinstance(over.value, dict):
        return Node({key: replaced(base.child(key), item) for key, item in over.value.items()}, over.origin)
    return over


def origins(node: Node, prefix: str = "") -> dict[str, str]:
    """Dotted key to origin of everything that was set; a list of scalars is one entry, an empty group too."""
    if node.value and isinstance(node.value, dict):
        below = [(key, item) for key, item in node.value.items()]
    elif isinstance(node.value, list) and any(isinstance(item.value, dict | list) for item in node.value):
        below = [(str(index), item) for index, item in enumerate(node.value)]
    else:
        return {prefix: node.origin} if prefix and node.origin != DEFAULT else {}
    found: dict[str, str] = {}
    for key, item in below:
        found |= origins(item, f"{prefix}.{key}" if prefix else key)
    return found
