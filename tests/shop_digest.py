"""What the generated shop is known by."""

from __future__ import annotations

import hashlib
from pathlib import Path

GENERATOR = Path(__file__).parents[1] / "lib" / "shelfmark" / "shop"


def generator_sha256() -> str:
    """Of the source that draws the shop."""
    digest = hashlib.sha256()
    for path in sorted(GENERATOR.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
