"""Limits that hold for the value of every option, checked as values are read, so that an error can name their place."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from shelfmark.config.nodes import Node

MAX_DEPTH = 32
"""How deep groups and lists may stand within each other."""
MAX_INT = 2**63 - 1
MAX_FLOAT = (2 - 2**-23) * 2.0**127
"""The largest float32, 3.4e38: a greater number becomes infinite in a tensor."""


def problems_in(node: Node, key: str = "") -> Iterator[str]:
    """A sentence for each value, from `node` down, that no option can have. key: the dotted key of `node`."""
    below: Iterator[tuple[Any, Node]] = iter(())
    if isinstance(node.value, dict):
        below = iter(node.value.items())
    elif isinstance(node.value, list):
        below = iter(enumerate(node.value))
    elif problem := _problem(node.value):
        where = "command line" if node.origin.startswith(f"command line: {key}=") else node.origin
        yield f"{where}: {key}{problem}"
    for part, item in below:
        whole = f"{key}.{part}" if key else str(part)
        if _problem(str(part)):
            yield f"{item.origin}: the key {whole!a} holds a character that is no text."
        else:
            yield from problems_in(item, whole)


def _problem(value: Any) -> str:
    """What is wrong with a scalar, behind its key; empty where nothing is."""
    if isinstance(value, str):
        return f"={_cut(ascii(value))} holds a character that is no text." if _is_no_text(value) else ""
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, int) and not -MAX_INT <= value <= MAX_INT:
        return f"={_cut(str(value))} is beyond 64 bits; the largest whole number is {MAX_INT}."
    if isinstance(value, float) and not math.isfinite(value):
        return f"={value} is not a number that an option can have; give a finite one."
    if isinstance(value, float) and abs(value) > MAX_FLOAT:
        return f"={value:g} is beyond float32, in which training computes; the largest number is {MAX_FLOAT:.2g}."
    return ""


def _is_no_text(value: str) -> bool:
    # Half of a surrogate pair is what Python makes of bytes that are not UTF-8.
    return "\0" in value or any("\ud800" <= character <= "\udfff" for character in value)


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:36]} ..."
