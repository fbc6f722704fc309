"""The checks that several losses make of their options."""

from __future__ import annotations

import math


def require_positive(name: str, value: float, hint: str = "") -> None:
    """Raises a ValueError unless `value` is a finite number above 0."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name}={value} must be a finite number above 0{hint and '; '}{hint}")


def require_not_negative(name: str, value: float) -> None:
    """Raises a ValueError unless `value` is a finite number, 0 or above."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name}={value} must be a finite number, 0 or above")
