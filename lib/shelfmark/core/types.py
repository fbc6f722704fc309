"""The kinds of numbers that functions take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from torch import Tensor

Array: TypeAlias = Tensor | np.ndarray

Integers: TypeAlias = Array | Sequence[int]

Counts: TypeAlias = Integers
"""(C,) how many images each class has."""
