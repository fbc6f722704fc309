"""The one error that users are meant to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LIKE = 0.6
"""How alike two words are, 0 to 1, if one may have been meant to be the other."""


class UserError(Exception):
    """Something in the input is wrong. The text says what, where, what is allowed and the next step.

    The command line prints the text alone and ends with status 2; a traceback is for our own mistakes.
    is_told: another process of the run ends with the same words, and prints them.
    """

    is_told = False


def did_you_mean(word: str, choices: Iterable[str], cutoff: float = LIKE) -> str | None:
    """The choice that `word` was most likely meant to be, or None where none is as alike as `cutoff`, 0 to 1."""
    by_folded = {choice.lower().replace("-", "_"): choice for choice in choices}
    found = difflib.get_close_matches(word.lower().replace("-", "_"), by_folded, n=1, cutoff=cutoff)
    return by_folded[found[0]] if found else None


def choose(what: str, value: str, choices: Iterable[str]) -> str:
    """`value` if it is one of `choices`; otherwise raises a UserError that lists them."""
    allowed = list(choices)
    if value in allowed:
        return value
    hint = did_you_mean(value, allowed)
    meant = f" Did you mean {hint!r}?" if hint else ""
    raise UserError(f"{what}={value!r} is not one of: {', '.join(allowed)}.{meant}")
