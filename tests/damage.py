"""Damaged files: the same content with one bit changed."""

from __future__ import annotations

import random
from collections.abc import Iterator


def flipped_bits(content: bytes, number: int) -> Iterator[bytes]:
    """The content with a bit of another byte flipped each time; the bytes are drawn, the same ones in every run."""
    generator = random.Random(0)
    for at in generator.sample(range(len(content)), min(number, len(content))):
        yield content[:at] + bytes([content[at] ^ 1 << generator.randrange(8)]) + content[at + 1 :]
