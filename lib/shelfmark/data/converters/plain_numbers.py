"""Numbers as foreign programs write them into text: what Python reads beside those is no number here."""

from __future__ import annotations

import math
import re

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_BLANKS = " \t\r\n"


def number_of(text: str) -> float | None:
    """The number that a text is; None where it is none. `nan`, `inf`, `1e999`, `1_000` and `1,5` are none."""
    plain = text.strip(_BLANKS)
    found = float(plain) if _NUMBER.fullmatch(plain) else math.inf
    return found if math.isfinite(found) else None


def why_no_number(text: str) -> str:
    """What is wrong with a text that `number_of` finds to be none."""
    plain = text.strip(_BLANKS)
    if not plain:
        return "nothing stands there"
    is_written = _NUMBER.fullmatch(plain) or plain.lower().lstrip("+-") in ("nan", "inf", "infinity")
    return f"{text!r} is not a {'finite' if is_written else 'plain'} number"


def whole_of(text: str) -> int | None:
    """The whole number that a text is; None where it is none. `1.0` and `1_0` are none."""
    plain = text.strip(_BLANKS)
    return int(plain) if _WHOLE.fullmatch(plain) else None
