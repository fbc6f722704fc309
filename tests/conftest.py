"""Fixtures that several tests share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
sys.path.insert(0, str(CHECKOUT / "tests"))


@pytest.fixture(scope="session")
def grocery_root() -> Path:
    """The grocery photographs beside the checkout."""
    root = CHECKOUT.parent / "shared" / "data" / "grocery"
    if not root.is_dir():
        pytest.skip(f"the grocery photographs are not at {root}")
    return root
