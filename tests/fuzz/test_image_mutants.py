"""10,000 damaged images of all formats: each gives pixels or a reason, in bounded memory and time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MEMORY_MB = 300
"""What a worker may take above what it has after its imports."""
SECONDS = 10
"""What one image may take of a processor."""


@pytest.mark.parametrize("number", [150, pytest.param(10_000, marks=[pytest.mark.fuzz, pytest.mark.slow])])
def test_damaged_images_give_pixels_or_a_reason(number: int) -> None:
    script = Path(__file__).with_name("image_worker.py")
    command = [sys.executable, str(script), str(number)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr[-3000:]
    found = json.loads(told.stdout.splitlines()[-1])
    assert found["decoded"] + sum(found["reasons"].values()) == number
    assert found["decoded"] > number / 20
    assert sum(found["reasons"].values()) > number / 5
    # Reasons are counted in lists, so they are few, and say nothing of one file alone.
    assert len(found["reasons"]) < 25, found["reasons"]
    assert found["peak_mb"] < MEMORY_MB, found
    assert found["slowest_s"] < SECONDS, found
