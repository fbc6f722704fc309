"""Losses: `loss(embedding or logits, labels)` -> 0-dim tensor. They hold no parameters and do not normalise."""

from __future__ import annotations

from shelfmark.losses.angular import AngularConfig, AngularLoss
from shelfmark.losses.circle import CircleConfig, CircleLoss, PairCosFaceConfig, PairCosFaceLoss
from shelfmark.losses.comparison import ComparingLoss, Comparison, Sums
from shelfmark.losses.config import ComparingLossConfig, LossConfig, LossContext, LossFunction, Takes
from shelfmark.losses.contrastive import ContrastiveConfig, ContrastiveLoss
from shelfmark.losses.cross_entropy import CrossEntropy, CrossEntropyConfig
from shelfmark.losses.lifted_structure import LiftedStructureConfig, LiftedStructureLoss
from shelfmark.losses.multi_similarity import MultiSimilarityConfig, MultiSimilarityLoss
from shelfmark.losses.n_pair import NPairConfig, NPairLoss
from shelfmark.losses.nt_xent import NTXentConfig, NTXentLoss
from shelfmark.losses.pnp import PNP, PNPConfig
from shelfmark.losses.ranked_list import RankedListConfig, RankedListLoss
from shelfmark.losses.recall_at_k import RecallAtK, RecallAtKConfig
from shelfmark.losses.smooth_ap import SmoothAP, SmoothAPConfig
from shelfmark.losses.sup_con import SupConConfig, SupConLoss
from shelfmark.losses.triplet import TripletConfig, TripletLoss

LossUnion = (
    AngularConfig
    | CircleConfig
    | ContrastiveConfig
    | CrossEntropyConfig
    | LiftedStructureConfig
    | MultiSimilarityConfig
    | NPairConfig
    | NTXentConfig
    | PNPConfig
    | PairCosFaceConfig
    | RankedListConfig
    | RecallAtKConfig
    | SmoothAPConfig
    | SupConConfig
    | TripletConfig
)
"""Every loss that a config can name, told apart by `name`."""

__all__ = [
    "PNP",
    "AngularConfig",
    "AngularLoss",
    "CircleConfig",
    "CircleLoss",
    "ComparingLoss",
    "ComparingLossConfig",
    "Comparison",
    "ContrastiveConfig",
    "ContrastiveLoss",
    "CrossEntropy",
    "CrossEntropyConfig",
    "LiftedStructureConfig",
    "LiftedStructureLoss",
    "LossConfig",
    "LossContext",
    "LossFunction",
    "LossUnion",
    "MultiSimilarityConfig",
    "MultiSimilarityLoss",
    "NPairConfig",
    "NPairLoss",
    "NTXentConfig",
    "NTXentLoss",
    "PNPConfig",
    "PairCosFaceConfig",
    "PairCosFaceLoss",
    "RankedListConfig",
    "RankedListLoss",
    "RecallAtK",
    "RecallAtKConfig",
    "SmoothAP",
    "SmoothAPConfig",
    "Sums",
    "SupConConfig",
    "SupConLoss",
    "Takes",
    "TripletConfig",
    "TripletLoss",
]
