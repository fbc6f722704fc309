"""Losses: `loss(embedding or logits, labels)` -> 0-dim tensor. They hold no parameters and do not normalise."""

from __future__ import annotations

from shelfmark.losses.adaptive_margin import AdaptiveMarginConfig, AdaptiveMarginLoss
from shelfmark.losses.angular import AngularConfig, AngularLoss
from shelfmark.losses.arcface import ArcFaceConfig, ArcFaceLoss
from shelfmark.losses.balanced_softmax import BalancedSoftmax, BalancedSoftmaxConfig
from shelfmark.losses.cdt import CDT, CDTConfig
from shelfmark.losses.center import CenterConfig, CenterLoss
from shelfmark.losses.circle import CircleConfig, CircleLoss, PairCosFaceConfig, PairCosFaceLoss
from shelfmark.losses.circle_softmax import CircleSoftmaxConfig, CircleSoftmaxLoss
from shelfmark.losses.class_weights import DeferredWeights
from shelfmark.losses.classification import ClassificationLoss
from shelfmark.losses.comparison import ComparingLoss, Comparison, Sums
from shelfmark.losses.config import ComparingLossConfig, LossConfig, LossContext, LossFunction, Takes
from shelfmark.losses.contrastive import ContrastiveConfig, ContrastiveLoss
from shelfmark.losses.cosface import CosFaceConfig, CosFaceLoss
from shelfmark.losses.cross_entropy import CrossEntropy, CrossEntropyConfig
from shelfmark.losses.expert_diversity import ExpertDiversity, ExpertDiversityConfig
from shelfmark.losses.focal import FocalConfig, FocalLoss
from shelfmark.losses.gpaco import GPaCo, GPaCoConfig
from shelfmark.losses.inverse_softmax import InverseSoftmax, InverseSoftmaxConfig
from shelfmark.losses.label_aware_smoothing import LabelAwareSmoothing, LabelAwareSmoothingConfig
from shelfmark.losses.ldam import LDAM, LDAMConfig
from shelfmark.losses.lifted_structure import LiftedStructureConfig, LiftedStructureLoss
from shelfmark.losses.logit_adjusted import LogitAdjusted, LogitAdjustedConfig
from shelfmark.losses.multi_similarity import MultiSimilarityConfig, MultiSimilarityLoss
from shelfmark.losses.n_pair import NPairConfig, NPairLoss
from shelfmark.losses.nt_xent import NTXentConfig, NTXentLoss
from shelfmark.losses.pml import PmlConfig, PytorchMetricLearning
from shelfmark.losses.pnp import PNP, PNPConfig
from shelfmark.losses.proxy_anchor import ProxyAnchorConfig, ProxyAnchorLoss
from shelfmark.losses.proxy_nca import ProxyNCAConfig, ProxyNCALoss
from shelfmark.losses.ranked_list import RankedListConfig, RankedListLoss
from shelfmark.losses.recall_at_k import RecallAtK, RecallAtKConfig
from shelfmark.losses.smooth_ap import SmoothAP, SmoothAPConfig
from shelfmark.losses.soft_triple import SoftTripleConfig, SoftTripleLoss
from shelfmark.losses.softmax_eql import SoftmaxEQL, SoftmaxEQLConfig
from shelfmark.losses.sup_con import SupConConfig, SupConLoss
from shelfmark.losses.triplet import TripletConfig, TripletLoss

LossUnion = (
    AdaptiveMarginConfig
    | AngularConfig
    | ArcFaceConfig
    | BalancedSoftmaxConfig
    | CDTConfig
    | CenterConfig
    | CircleConfig
    | CircleSoftmaxConfig
    | ContrastiveConfig
    | CosFaceConfig
    | CrossEntropyConfig
    | ExpertDiversityConfig
    | FocalConfig
    | GPaCoConfig
    | InverseSoftmaxConfig
    | LDAMConfig
    | LabelAwareSmoothingConfig
    | LiftedStructureConfig
    | LogitAdjustedConfig
    | MultiSimilarityConfig
    | NPairConfig
    | NTXentConfig
    | PNPConfig
    | PairCosFaceConfig
    | PmlConfig
    | ProxyAnchorConfig
    | ProxyNCAConfig
    | RankedListConfig
    | RecallAtKConfig
    | SmoothAPConfig
    | SoftTripleConfig
    | SoftmaxEQLConfig
    | SupConConfig
    | TripletConfig
)
"""Every loss that a config can name, told apart by `name`."""

__all__ = [
    "CDT",
    "LDAM",
    "PNP",
    "AdaptiveMarginConfig",
    "AdaptiveMarginLoss",
    "AngularConfig",
    "AngularLoss",
    "ArcFaceConfig",
    "ArcFaceLoss",
    "BalancedSoftmax",
    "BalancedSoftmaxConfig",
    "CDTConfig",
    "CenterConfig",
    "CenterLoss",
    "CircleConfig",
    "CircleLoss",
    "CircleSoftmaxConfig",
    "CircleSoftmaxLoss",
    "ClassificationLoss",
    "ComparingLoss",
    "ComparingLossConfig",
    "Comparison",
    "ContrastiveConfig",
    "ContrastiveLoss",
    "CosFaceConfig",
    "CosFaceLoss",
    "CrossEntropy",
    "CrossEntropyConfig",
    "DeferredWeights",
    "ExpertDiversity",
    "ExpertDiversityConfig",
    "FocalConfig",
    "FocalLoss",
    "GPaCo",
    "GPaCoConfig",
    "InverseSoftmax",
    "InverseSoftmaxConfig",
    "LDAMConfig",
    "LabelAwareSmoothing",
    "LabelAwareSmoothingConfig",
    "LiftedStructureConfig",
    "LiftedStructureLoss",
    "LogitAdjusted",
    "LogitAdjustedConfig",
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
    "PmlConfig",
    "ProxyAnchorConfig",
    "ProxyAnchorLoss",
    "ProxyNCAConfig",
    "ProxyNCALoss",
    "PytorchMetricLearning",
    "RankedListConfig",
    "RankedListLoss",
    "RecallAtK",
    "RecallAtKConfig",
    "SmoothAP",
    "SmoothAPConfig",
    "SoftTripleConfig",
    "SoftTripleLoss",
    "SoftmaxEQL",
    "SoftmaxEQLConfig",
    "Sums",
    "SupConConfig",
    "SupConLoss",
    "Takes",
    "TripletConfig",
    "TripletLoss",
]
