"""JSON values in messages."""

from __future__ import annotations

import orjson


def shown(value: object) -> str:
    """A JSON value as the file has it, cut to a readable length."""
    try:
        text = orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
