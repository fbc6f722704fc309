"""Random numbers that need no generator. Legend: n rows, k draws a row."""

from __future__ import annotations

import torch
from torch import Tensor


def uniform(seed: int, step: int, rows: Tensor, num_draws: int) -> Tensor:
    """Numbers in [0, 1), k for each row: (n, k) float64, the same on every device.

    A number depends on the seed, the step, its row and its place among the row's draws alone: not on which other rows
    are asked for, nor on how many draws. So blocks of rows, and processes with a part of the rows each, draw what one
    process with all rows would.
    rows: (n,) int64. seed, step: of 64 bits at most, with sign.
    Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014 (SplitMix64).
    """
    draws = torch.arange(num_draws, device=rows.device)
    stream = _number(rows.new_tensor(seed), rows.new_tensor(step))
    bits = _number(_number(stream, rows)[:, None], draws)
    return _shifted(bits, 11).to(torch.float64) * 2.0**-53


_STRIDE = 0x9E3779B97F4A7C15 - 2**64
_FACTORS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)


def _number(stream: Tensor, place: Tensor) -> Tensor:
    """The number at a place of the SplitMix64 stream that starts from `stream`, elementwise; int64 products wrap."""
    bits = stream + (place + 1) * _STRIDE
    bits = (bits ^ _shifted(bits, 30)) * _FACTORS[0]
    bits = (bits ^ _shifted(bits, 27)) * _FACTORS[1]
    return bits ^ _shifted(bits, 31)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """The bits moved right, with zeros from the left; `>>` alone would bring in copies of the sign."""
    return (bits >> by) & (2 ** (64 - by) - 1)
