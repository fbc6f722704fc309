"""Shelfmark: train, recalibrate, search and explain models that recognise products.

From Python: `load`, `load_index` and `train`, and the losses in `shelfmark.losses`. docs/python.md shows them at work.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["load", "load_index", "train"]


def __getattr__(name: str) -> Any:
    # Imported when they are asked for: they take seconds, which `import shelfmark.losses` need not wait for.
    if name in __all__:
        return getattr(import_module("shelfmark.api"), name)
    raise AttributeError(f"module 'shelfmark' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
