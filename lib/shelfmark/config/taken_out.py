"""Null takes an entry out of a group of freely named entries: `heads: {rank: null}` leaves out a head of the base."""

from __future__ import annotations

from shelfmark.config.nodes import Node, plain
from shelfmark.config.shape import Shape
from shelfmark.core.errors import did_you_mean


def without_taken_out(tree: Node, shape: Shape, problems: list[str]) -> Node:
    """The tree without the entries that are null. A null that takes nothing out is added to the problems."""
    return _without(tree, shape, "", problems)


def _without(node: Node, shape: Shape | None, key: str, problems: list[str]) -> Node:
    if shape is None or not isinstance(node.value, dict):
        return node
    is_free = bool(shape.entry) and not shape.is_list and not shape.tag and not shape.keys()
    kept: dict[str, Node] = {}
    for name, item in node.value.items():
        below = shape.child(name, plain(node))
        here = f"{key}.{name}" if key else name
        if not (is_free and item.value is None and not (below and below.schema.get("nullable"))):
            kept[name] = _without(item, below, here, problems)
        elif not item.takes_out:
            problems.append(_nothing_there(item, here, [one for one, it in node.value.items() if it.value is not None]))
    return Node(kept, node.origin, node.takes_out)


def _nothing_there(item: Node, key: str, names: list[str]) -> str:
    group, _, name = key.rpartition(".")
    near = did_you_mean(name, names)
    meant = f" Did you mean {group}.{near}=null?" if near else ""
    place = "command line" if item.origin.startswith(f"command line: {key}=") else item.origin
    return f"{place}: {key}=null takes an entry out, and {group} has {', '.join(names) or 'none'}.{meant}"
