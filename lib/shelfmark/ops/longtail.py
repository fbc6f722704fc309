"""Arithmetic of long-tailed class counts. Legend: C classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Counts = Tensor | np.ndarray | Sequence[int]


def sampling_probabilities(counts: Counts, power: float = 1.0, progress: float | None = None) -> Tensor:
    """The probability of drawing each class: proportional to counts**power; (C,) float64, summing to 1.

    counts: (C,) training images a class. A class without images gets 0, whatever the power.
    power: 1 is a uniform draw over images, 0.5 square-root sampling, 0 a uniform draw over classes.
    progress: 0..1; given, the result is (1 - progress) * that + progress * uniform over classes: with
    power 1 and progress = epoch / (epochs - 1), the progressively balanced sampling of Kang et al. 2020.
    """
    known = _checked(counts)
    if not np.isfinite(power):
        raise ValueError(f"power={power} must be a finite number")
    probabilities = _normalized(_powers(known, power))
    if progress is None:
        return probabilities
    if not 0 <= progress <= 1:
        raise ValueError(f"progress={progress} must lie in 0..1")
    return (1 - progress) * probabilities + progress * _normalized(_powers(known, 0.0))


def reverse_probabilities(counts: Counts) -> Tensor:
    """The probability of each class, proportional to largest count / count: rare classes most; (C,) float64.

    A class without images gets 0. Source: the reversed sampler of BBN, Zhou et al. 2020, section 4.2.
    """
    return sampling_probabilities(counts, power=-1.0)


def _powers(counts: Tensor, power: float) -> Tensor:
    # As logarithms, less the largest of them: ten million images to a high power would overflow.
    present = counts > 0
    exponents = torch.where(present, power * torch.where(present, counts, 1).log(), -torch.inf)
    return (exponents - exponents.max()).exp()


def _normalized(weights: Tensor) -> Tensor:
    return weights / weights.sum()


def _checked(counts: Counts) -> Tensor:
    known = torch.as_tensor(counts, dtype=torch.float64)
    if known.ndim != 1:
        raise ValueError(f"counts must have one dimension (classes), not shape {tuple(known.shape)}")
    if not bool(torch.isfinite(known).all()) or bool((known < 0).any()):
        raise ValueError("counts must be finite and not negative")
    if not bool((known > 0).any()):
        raise ValueError("counts: every class is empty, so no class can be drawn")
    return known
