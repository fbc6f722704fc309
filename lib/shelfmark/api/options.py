"""Options as a Python program gives them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shelfmark.config.overrides import Override
from shelfmark.core.errors import UserError


def overrides_of(options: Mapping[str, Any] | None) -> list[Override]:
    """`{"optim.lr": 0.1}` as overrides; paths and tuples count as text and lists."""
    if not isinstance(options or {}, Mapping):
        raise UserError(f'options are a dict, such as {{"optim.lr": 0.1}}, not {type(options).__name__}.')
    return [Override(key, _as_in_yaml(value), f"options: {key}") for key, value in (options or {}).items()]


def _as_in_yaml(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _as_in_yaml(item) for key, item in value.items()}
    return [_as_in_yaml(item) for item in value] if isinstance(value, list | tuple) else value
