"""Dotted keys of options and of groups of them, such as `optim.schedule.name`."""

from __future__ import annotations


def is_within(key: str, group: str) -> bool:
    """Whether `key` is `group`, or lies in it: `optim.schedule.name` is within `optim`, and `optimizer` is not."""
    return key == group or key.startswith(f"{group}.")
