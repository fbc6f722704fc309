"""The values of FastRetri's keys, which are Python literals, and what they set."""

from __future__ import annotations

import ast
from typing import Any, Literal

from shelfmark.migrate.readers import Reader
from shelfmark.migrate.values import Reading, quotient


def literal(text: str) -> Any:
    """A value as yacs reads it: a Python literal, else text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def truth(text: str) -> bool:
    value = literal(text)
    if not isinstance(value, bool):
        raise ValueError(f"{text!r} is neither True nor False.")
    return value


def list_of(text: str, kind: Literal["whole", "number"]) -> list[Any]:
    value = literal(text)
    entries = [value] if isinstance(value, int | float) else value
    kinds = (int,) if kind == "whole" else (int, float)
    if not isinstance(entries, list | tuple) or not all(type(one) in kinds for one in entries):
        raise ValueError(f"{text!r} is not a list of {kind} numbers, as [256].")
    return list(entries)


def numbers(key: str, divisor: float = 1) -> Reader:
    return lambda text, values: [(key, [quotient(one, divisor) for one in list_of(text, "number")])]


def size(key: str) -> Reader:
    """A length or two in pixels; FastRetri writes 0 for none."""
    return lambda text, values: [(key, [one for one in list_of(text, "whole") if one > 0])]


def either(key: str, yes: Any, no: Any) -> Reader:
    """`yes` where the value is True, `no` where it is False; None sets nothing."""

    def reads(text: str, values: object) -> Reading:
        value = yes if truth(text) else no
        return [] if value is None else [(key, value)]

    return reads
