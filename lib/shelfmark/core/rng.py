"""Seeds. Every draw names what it is for; nothing touches a global generator.

Two draws with different roles or indices are independent; the same role and indices give the same
numbers whatever the number of workers or processes, and after a resume.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, role: str, *indices: int) -> int:
    """A 63-bit seed for one draw: `derive_seed(seed, "augment", epoch, index)`."""
    text = ":".join([str(int(seed)), role, *(str(int(index)) for index in indices)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def numpy_generator(seed: int, role: str, *indices: int) -> np.random.Generator:
    """A fresh numpy generator for one draw."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, role, *indices)))
