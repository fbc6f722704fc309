"""The text of one flag's value as a number, or as one of several choices."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from shelfmark.core.errors import did_you_mean

Reading = list[tuple[str, Any]]
"""Dotted keys of a recipe with their values, in the order in which they apply."""
Values = Mapping[str, str]
"""The text of each flag: what was typed, else the default of the original. A switch that is on has the text ''."""


def to_int(text: str) -> int:
    if not re.fullmatch(r"[-+]?\d+", text.strip()):
        raise ValueError(f"{text!r} is not a whole number.")
    if len(text) > 40:
        raise ValueError("a number of 64 bits has at most 19 digits.")
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
    """`text` if it is one of `choices`; otherwise raises a ValueError that lists them."""
    allowed = list(choices)
    if text not in allowed:
        meant = did_you_mean(text, allowed)
        hint = f" Did you mean {meant!r}?" if meant else ""
        raise ValueError(f"{text!r} is not one of: {', '.join(allowed)}.{hint}")
    return text
