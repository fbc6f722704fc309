"""Losses: `loss(embedding or logits, labels)` -> 0-dim tensor. They hold no parameters and do not normalise."""

from __future__ import annotations

from shelfmark.losses.config import LossConfig, LossContext, LossFunction
from shelfmark.losses.cross_entropy import CrossEntropy, CrossEntropyConfig
from shelfmark.losses.pnp import PNP, PNPConfig
from shelfmark.losses.smooth_ap import SmoothAP, SmoothAPConfig

LossUnion = CrossEntropyConfig | SmoothAPConfig | PNPConfig
"""Every loss that a config can name, told apart by `name`."""

__all__ = [
    "PNP",
    "CrossEntropy",
    "CrossEntropyConfig",
    "LossConfig",
    "LossContext",
    "LossFunction",
    "LossUnion",
    "PNPConfig",
    "SmoothAP",
    "SmoothAPConfig",
]
