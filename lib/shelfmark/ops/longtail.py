"""Arithmetic of long-tailed class counts. Legend: C classes."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.types import Counts


def sampling_probabilities(counts: Counts, power: float = 1.0, progress: float | None = None) -> Tensor:
    """The probability of drawing each class: proportional to counts**power; (C,) float64, summing to 1.

    counts: (C,) training images a class. A class without images gets 0, whatever the power.
    power: 1 is a uniform draw over images, 0.5 square-root sampling, 0 a uniform draw over classes.
    progress: 0..1. The result is then (1 - progress) * those probabilities + progress * uniform over classes. With
    power 1 and progress = epoch / (epochs - 1) it is the progressively balanced sampling of Kang et al. 2020.
    """
    known = checked_counts(counts)
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


def effective_number_weights(counts: Counts, beta: float) -> Tensor:
    """Class weights (1 - beta) / (1 - beta**count), scaled to sum to C: (C,) float64.

    counts: (C,) training images a class. A class without images gets 0. beta: from 0 to below 1. 0 gives all classes
    the same weight; near 1 the weights go towards 1 / count.
    Source: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019, proposition 1.
    """
    known = checked_counts(counts)
    if not 0 <= beta < 1:
        raise ValueError(f"beta={beta} must be at least 0 and below 1; usual are 0.9 to 0.9999")
    log_beta = math.log(beta) if beta else -math.inf
    # beta**count is so near 1 that the difference would keep few digits.
    effective_number = -torch.expm1(torch.where(known > 0, known, 1) * log_beta)
    return len(known) * _normalized((known > 0) / effective_number)


def power_weights(counts: Counts, gamma: float) -> Tensor:
    """Class weights count**-gamma, scaled to sum to C: (C,) float64.

    counts: (C,) training images a class. A class without images gets 0. gamma: 1 is the inverse of the count, 0.5 of
    its square root; 0 gives all classes the same weight.
    """
    return len(counts) * sampling_probabilities(counts, power=-gamma)


def ldam_margins(counts: Counts, largest: float) -> Tensor:
    """LDAM margins, proportional to count**-1/4 and scaled so that the rarest class has `largest`: (C,) float64.

    counts: (C,) training images a class. A class without images has `largest` too.
    Source: Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", NeurIPS 2019, eq. 13.
    """
    known = checked_counts(counts)
    rarest = known[known > 0].min()
    return largest * (rarest / known.clamp_min(rarest)) ** 0.25


def log_prior(counts: Counts) -> Tensor:
    """ln of each class's share of all images: (C,) float64.

    counts: (C,) training images a class. A class without images counts as one with a single image, whose share is
    finite.
    """
    known = checked_counts(counts)
    return torch.where(known > 0, known, 1).log() - known.sum().log()


def checked_counts(counts: Counts) -> Tensor:
    """The counts as (C,) float64; raises a ValueError unless they are finite, not negative and not all 0."""
    known = torch.as_tensor(counts, dtype=torch.float64)
    if known.ndim != 1:
        raise ValueError(f"counts must have one dimension (classes), not shape {tuple(known.shape)}")
    if not bool(torch.isfinite(known).all()) or bool((known < 0).any()):
        raise ValueError("counts must be finite and not negative")
    if not bool((known > 0).any()):
        raise ValueError("counts: every class is empty, so there is nothing to balance")
    return known


def _powers(counts: Tensor, power: float) -> Tensor:
    # As logarithms, less the largest of them: ten million images to a high power would overflow.
    present = counts > 0
    exponents = torch.where(present, power * torch.where(present, counts, 1).log(), -torch.inf)
    return (exponents - exponents.max()).exp()


def _normalized(weights: Tensor) -> Tensor:
    return weights / weights.sum()
