"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, what: str) -> str:
    """A number with its noun: 1 class, 2 classes, 1,200 training images. what: the noun, alone or behind adjectives."""
    if number == 1:
        return f"1 {what}"
    if what.endswith(("s", "x", "ch", "sh")) and not what.endswith("epoch"):
        return f"{number:,} {what}es"
    is_y = what.endswith("y") and what[-2] not in "aeiou"
    return f"{number:,} {what[:-1]}ies" if is_y else f"{number:,} {what}s"


def are(number: int) -> str:
    """The verb behind a number: `is` of one, `are` of others."""
    return "is" if number == 1 else "are"
