"""The checks that several losses make of their options."""

from __future__ import annotations

import math
from collections.abc import Sequence

from shelfmark.core.errors import did_you_mean


def require_positive(name: str, value: float, hint: str = "") -> None:
    """Raises a ValueError unless `value` is a finite number above 0."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name}={value} must be a finite number above 0{hint and '; '}{hint}")


def require_not_negative(name: str, value: float) -> None:
    """Raises a ValueError unless `value` is a finite number, 0 or above."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name}={value} must be a finite number, 0 or above")


def require_one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raises a ValueError unless `value` is one of those allowed."""
    if value not in allowed:
        close = did_you_mean(value, allowed)
        hint = f" Did you mean {close!r}?" if close else ""
        raise ValueError(f"{name}={value!r} is not one of: {', '.join(allowed)}.{hint}")
