"""Losses: `loss(embedding or logits, labels)` -> 0-dim tensor. They hold no parameters and do not normalise."""

from __future__ import annotations

from shelfmark.losses.comparison import ComparingLoss, Comparison, Sums
from shelfmark.losses.config import ComparingLossConfig, LossConfig, LossContext, LossFunction, Takes
from shelfmark.losses.cross_entropy import CrossEntropy, CrossEntropyConfig
from shelfmark.losses.pnp import PNP, PNPConfig
from shelfmark.losses.recall_at_k import RecallAtK, RecallAtKConfig
from shelfmark.losses.smooth_ap import SmoothAP, SmoothAPConfig

LossUnion = CrossEntropyConfig | SmoothAPConfig | PNPConfig | RecallAtKConfig
"""Every loss that a config can name, told apart by `name`."""

__all__ = [
    "PNP",
    "ComparingLoss",
    "ComparingLossConfig",
    "Comparison",
    "CrossEntropy",
    "CrossEntropyConfig",
    "LossConfig",
    "LossContext",
    "LossFunction",
    "LossUnion",
    "PNPConfig",
    "RecallAtK",
    "RecallAtKConfig",
    "SmoothAP",
    "SmoothAPConfig",
    "Sums",
    "Takes",
]
