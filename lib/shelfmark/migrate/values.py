"""Readers of one flag's value: its text, and all other values, to what it sets or what to say of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from shelfmark.core.errors import nearest

Reading = list[tuple[str, Any]]
"""Dotted keys and values, in the order in which they apply."""
Given = Mapping[str, str]
"""Every flag's value as text: what was typed, else the original's default. A switch that is on has the text ''."""


def whole(key: str) -> Callable[[str, Given], Reading]:
    return lambda text, given: [(key, to_int(text))]


def number(key: str) -> Callable[[str, Given], Reading]:
    return lambda text, given: [(key, to_float(text))]


def text_of(key: str) -> Callable[[str, Given], Reading]:
    return lambda text, given: [(key, text)]


def always(*pairs: tuple[str, Any]) -> Callable[[str, Given], Reading]:
    return lambda text, given: list(pairs)


def choice(meanings: Mapping[str, Reading]) -> Callable[[str, Given], Reading]:
    return lambda text, given: meanings[one_of(text, meanings)]


def whole_list(key: str) -> Callable[[str, Given], Reading]:
    return lambda text, given: [(key, [to_int(part) for part in text.split()])]


def to_int(text: str) -> int:
    if not re.fullmatch(r"[-+]?\d+", text.strip()):
        raise ValueError(f"{text!r} is not a whole number.")
    return int(text)


def to_float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number.") from None


def quotient(above: float, below: float) -> float:
    """Rounded, so that 3e-5 of 0.003 is the recipe's 0.01."""
    return float(f"{above / below:.12g}")


def one_of(text: str, choices: Iterable[str]) -> str:
    allowed = list(choices)
    if text not in allowed:
        meant = nearest(text, allowed)
        hint = f" Did you mean {meant!r}?" if meant else ""
        raise ValueError(f"{text!r} is not one of: {', '.join(allowed)}.{hint}")
    return text


def run_name(text: str) -> Reading:
    return [("name", re.sub(r"[^A-Za-z0-9._-]+", "-", text))] if text else []


def finetune(text: str, given: Given) -> list[str]:
    return ["--RESUME_MODEL", text, "--mode", "finetune"] if text else []


def about_checkpoints(text: str, given: Given) -> str:
    return "--RESUME_MODEL reads checkpoints of Shelfmark alone: name one in place of the original's." if text else ""
