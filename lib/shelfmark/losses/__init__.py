"""Losses: `loss(embedding or logits, labels)` -> 0-dim tensor. They hold no parameters and do not normalise.

To add one: its file, its import and its line in `LOSSES`.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, TypeAlias

from shelfmark.losses.adaptive_margin import AdaptiveMarginLoss
from shelfmark.losses.angular import AngularLoss
from shelfmark.losses.arcface import ArcFaceLoss
from shelfmark.losses.balanced_softmax import BalancedSoftmax
from shelfmark.losses.cdt import CDT
from shelfmark.losses.center import CenterLoss
from shelfmark.losses.circle import CircleLoss, PairCosFaceLoss
from shelfmark.losses.circle_softmax import CircleSoftmaxLoss
from shelfmark.losses.class_weights import ClassificationLossEntry
from shelfmark.losses.class_weights import DeferredWeights as DeferredWeights
from shelfmark.losses.classification import ClassificationLoss
from shelfmark.losses.contrastive import ContrastiveLoss
from shelfmark.losses.cosface import CosFaceLoss
from shelfmark.losses.cross_entropy import CrossEntropy
from shelfmark.losses.entries import LossContext as LossContext
from shelfmark.losses.entries import LossEntry, RetrievalLossEntry, entry_class
from shelfmark.losses.expert_diversity import ExpertDiversity
from shelfmark.losses.focal import FocalLoss
from shelfmark.losses.gpaco import GPaCo, TwoHeadEntry
from shelfmark.losses.inverse_softmax import InverseSoftmax
from shelfmark.losses.label_aware_smoothing import LabelAwareSmoothing
from shelfmark.losses.ldam import LDAM
from shelfmark.losses.lifted_structure import LiftedStructureLoss
from shelfmark.losses.logit_adjusted import LogitAdjusted
from shelfmark.losses.loss import HeadOutput as HeadOutput
from shelfmark.losses.loss import Loss
from shelfmark.losses.loss import LossFunction as LossFunction
from shelfmark.losses.multi_similarity import MultiSimilarityLoss
from shelfmark.losses.n_pair import NPairLoss
from shelfmark.losses.nt_xent import NTXentLoss
from shelfmark.losses.pml import LibraryEntry, PytorchMetricLearning
from shelfmark.losses.pnp import PNP
from shelfmark.losses.proxy_anchor import ProxyAnchorLoss
from shelfmark.losses.proxy_nca import ProxyNCALoss
from shelfmark.losses.ranked_list import RankedListLoss
from shelfmark.losses.recall_at_k import RecallAtK
from shelfmark.losses.retrieval import QueryBlock as QueryBlock
from shelfmark.losses.retrieval import RetrievalLoss
from shelfmark.losses.retrieval import Sums as Sums
from shelfmark.losses.smooth_ap import SmoothAP
from shelfmark.losses.soft_triple import SoftTripleLoss
from shelfmark.losses.softmax_eql import SoftmaxEQL
from shelfmark.losses.sup_con import SupConLoss
from shelfmark.losses.triplet import TripletLoss

LOSSES: dict[str, type[Loss]] = {
    "adaptive_margin": AdaptiveMarginLoss,
    "angular": AngularLoss,
    "arcface": ArcFaceLoss,
    "balanced_softmax": BalancedSoftmax,
    "cdt": CDT,
    "center": CenterLoss,
    "circle": CircleLoss,
    "circle_softmax": CircleSoftmaxLoss,
    "contrastive": ContrastiveLoss,
    "cosface": CosFaceLoss,
    "cross_entropy": CrossEntropy,
    "expert_diversity": ExpertDiversity,
    "focal": FocalLoss,
    "gpaco": GPaCo,
    "inverse_softmax": InverseSoftmax,
    "label_aware_smoothing": LabelAwareSmoothing,
    "ldam": LDAM,
    "lifted_structure": LiftedStructureLoss,
    "logit_adjusted": LogitAdjusted,
    "multi_similarity": MultiSimilarityLoss,
    "n_pair": NPairLoss,
    "nt_xent": NTXentLoss,
    "pair_cosface": PairCosFaceLoss,
    "pml": PytorchMetricLearning,
    "pnp": PNP,
    "proxy_anchor": ProxyAnchorLoss,
    "proxy_nca": ProxyNCALoss,
    "ranked_list": RankedListLoss,
    "recall_at_k": RecallAtK,
    "smooth_ap": SmoothAP,
    "soft_triple": SoftTripleLoss,
    "softmax_eql": SoftmaxEQL,
    "sup_con": SupConLoss,
    "triplet": TripletLoss,
}
"""By the name that a config calls them."""

_ENTRY_BASES: dict[type[Loss], type[LossEntry]] = {
    ClassificationLoss: ClassificationLossEntry,
    GPaCo: TwoHeadEntry,
    PytorchMetricLearning: LibraryEntry,
    RetrievalLoss: RetrievalLossEntry,
    Loss: LossEntry,
}
"""What entries of a loss have besides its own options; the first that fits."""


def _entry_base(loss: type[Loss]) -> type[LossEntry]:
    return next(base for kind, base in _ENTRY_BASES.items() if issubclass(loss, kind))


ENTRIES: dict[str, type[LossEntry]] = {
    name: entry_class(name, loss, _entry_base(loss)) for name, loss in LOSSES.items()
}
"""The class of the entries that name a loss."""
globals().update({one.__name__: one for one in ENTRIES.values()})  # where pickle looks for a class

if TYPE_CHECKING:
    LossUnion: TypeAlias = LossEntry
else:
    LossUnion = reduce(or_, ENTRIES.values())
"""Every entry, told apart by `name`."""


def entry(name: str, **options: Any) -> LossEntry:
    """An entry of `losses:`, as Python makes it: `entry("pnp", head="rank", alpha=4.0)`."""
    return ENTRIES[name](**options)
