"""Losses are the same on one process and on two. Legend: N rows of the global batch, S of a memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize
from two_processes import on_two_processes

from shelfmark.core import dist
from shelfmark.losses import ENTRIES, PNP, CrossEntropy, LossContext, RecallAtK, RetrievalLoss, SmoothAP, entry
from shelfmark.losses.adaptive_margin import AdaptiveMarginLoss
from shelfmark.losses.angular import AngularLoss
from shelfmark.losses.arcface import ArcFaceLoss
from shelfmark.losses.balanced_softmax import BalancedSoftmax
from shelfmark.losses.cdt import CDT
from shelfmark.losses.center import CenterLoss
from shelfmark.losses.circle import CircleLoss, PairCosFaceLoss
from shelfmark.losses.circle_softmax import CircleSoftmaxLoss
from shelfmark.losses.contrastive import ContrastiveLoss
from shelfmark.losses.cosface import CosFaceLoss
from shelfmark.losses.expert_diversity import ExpertDiversity
from shelfmark.losses.focal import FocalLoss
from shelfmark.losses.gpaco import GPaCo
from shelfmark.losses.inverse_softmax import InverseSoftmax
from shelfmark.losses.label_aware_smoothing import LabelAwareSmoothing
from shelfmark.losses.ldam import LDAM
from shelfmark.losses.lifted_structure import LiftedStructureLoss
from shelfmark.losses.logit_adjusted import LogitAdjusted
from shelfmark.losses.multi_similarity import MultiSimilarityLoss
from shelfmark.losses.n_pair import NPairLoss
from shelfmark.losses.nt_xent import NTXentLoss
from shelfmark.losses.proxy_anchor import ProxyAnchorLoss
from shelfmark.losses.proxy_nca import ProxyNCALoss
from shelfmark.losses.ranked_list import RankedListLoss
from shelfmark.losses.soft_triple import SoftTripleLoss
from shelfmark.losses.softmax_eql import SoftmaxEQL
from shelfmark.losses.sup_con import SupConLoss
from shelfmark.losses.triplet import TripletLoss

Kind = Literal["vectors", "cosines", "logits", "proxies", "logits_and_vectors", "experts"]
COUNTS = torch.tensor([40, 30, 20, 10, 8, 6, 4, 3, 2, 1])
WEIGHT = 1 / COUNTS
CONTEXT = LossContext(counts=COUNTS, device=torch.device("cpu"))

# Every loss: the name of its config (and a variant), what it takes, the loss.
LOSSES: dict[str, tuple[Kind, Any]] = {
    "adaptive_margin": ("cosines", AdaptiveMarginLoss(COUNTS)),
    "angular": ("vectors", AngularLoss()),
    "arcface": ("cosines", ArcFaceLoss()),
    "balanced_softmax": ("logits", BalancedSoftmax(COUNTS)),
    "cdt": ("logits", CDT(COUNTS, gamma=0.2)),
    "center": ("proxies", CenterLoss()),
    "circle": ("vectors", CircleLoss()),
    "circle_softmax": ("cosines", CircleSoftmaxLoss()),
    "contrastive": ("vectors", ContrastiveLoss()),
    "contrastive euclidean": ("vectors", ContrastiveLoss(distance="euclidean", miner="hard")),
    "contrastive drawn": ("vectors", ContrastiveLoss(miner="distance_weighted", seed=3)),
    "cosface": ("cosines", CosFaceLoss()),
    "cross_entropy": ("logits", CrossEntropy(label_smoothing=0.1, weight=WEIGHT)),
    "expert_diversity": ("experts", ExpertDiversity(COUNTS)),
    "focal": ("logits", FocalLoss(gamma=2.0, weight=WEIGHT)),
    "gpaco": ("logits_and_vectors", GPaCo(COUNTS, alpha=0.3)),
    "inverse_softmax": ("logits", InverseSoftmax(COUNTS)),
    "label_aware_smoothing": ("logits", LabelAwareSmoothing(COUNTS)),
    "ldam": ("cosines", LDAM(COUNTS)),
    "lifted_structure": ("vectors", LiftedStructureLoss()),
    "logit_adjusted": ("logits", LogitAdjusted(COUNTS)),
    "multi_similarity": ("vectors", MultiSimilarityLoss()),
    "multi_similarity mined": ("vectors", MultiSimilarityLoss(miner="multi_similarity")),
    "n_pair": ("vectors", NPairLoss(l2_weight=0.02)),
    "nt_xent": ("vectors", NTXentLoss()),
    "pair_cosface": ("vectors", PairCosFaceLoss()),
    "pml": ("vectors", entry("pml", head="rank", loss="NTXentLoss").build(CONTEXT)),
    "pnp O": ("vectors", PNP("O", temperature=0.1)),
    "pnp I_u": ("vectors", PNP("I_u", temperature=0.1)),
    "pnp I_b": ("vectors", PNP("I_b", temperature=0.1)),
    "pnp D_s": ("vectors", PNP("D_s", temperature=0.1)),
    "pnp D_q": ("vectors", PNP("D_q", temperature=0.1)),
    "proxy_anchor": ("cosines", ProxyAnchorLoss()),
    "proxy_nca": ("cosines", ProxyNCALoss()),
    "ranked_list": ("vectors", RankedListLoss()),
    "recall_at_k": ("vectors", RecallAtK()),
    "smooth_ap": ("vectors", SmoothAP(temperature=0.1)),
    "smooth_ap include_self": ("vectors", SmoothAP(temperature=0.1, include_self=True)),
    "soft_triple": ("proxies", SoftTripleLoss(margin=0.1)),
    "softmax_eql": ("logits", SoftmaxEQL(COUNTS, gamma=0.5, threshold=0.1, seed=3)),
    "sup_con": ("vectors", SupConLoss()),
    "triplet all": ("vectors", TripletLoss()),
    "triplet all soft margin": ("vectors", TripletLoss(margin=0.0)),
    "triplet semihard": ("vectors", TripletLoss(mining="semihard")),
    "triplet hard": ("vectors", TripletLoss(mining="hard", distance="cosine")),
    "triplet soft": ("vectors", TripletLoss(mining="soft")),
    "triplet drawn": ("vectors", TripletLoss(mining="distance_weighted", seed=3)),
}

COMPARING = [name for name, (_, loss) in LOSSES.items() if isinstance(loss, RetrievalLoss | GPaCo)]
STEP = 5
MEMORY_LABELS = [3, 0, 4, 1, -1, 2]


@dataclass(frozen=True)
class Case:
    """labels: of the global batch, in rank order. first: how many of its rows the first process holds.

    spoiled: rows of that label are NaN, in the memory too.
    """

    labels: tuple[int, ...]
    first: int
    dtype: torch.dtype = torch.float64
    with_memory: bool = False
    spoiled: int | None = None


UNEVEN = Case((0, 1, 0, 2, 1, 0, 2, -1, 1, 0, 9), first=3)
CASES = {
    "even": Case((0, 1, 0, 2, 1, 0, 2, 2, 1, 0), first=5),
    "uneven, with rows unlabelled and alone": UNEVEN,
    "in float32": replace(UNEVEN, dtype=torch.float32),
    "with a memory": replace(UNEVEN, with_memory=True),
    "one process has no positive": Case((7, -1, 0, 0, 1, 1, 2, 2, 0), first=2),
    "one process has no label": Case((-1, -1, 0, 0, 1, 1, 0), first=2),
    "one process has no row, the other a memory": Case((0, 1, 1, 0, 2, 2), first=0, with_memory=True),
    "rows without label are NaN": replace(UNEVEN, with_memory=True, spoiled=-1),
    "a row of one process is NaN": replace(UNEVEN, spoiled=9),
    "nobody has a positive": Case((0, 1, 2, 3, 4), first=3),
}


FOR_ALL = ["with a memory", "one process has no positive"]
"""The other cases are for one loss of each way to share the work."""
WAYS = [
    "arcface",
    "center",
    "contrastive drawn",
    "cross_entropy",
    "expert_diversity",
    "gpaco",
    "pml",
    "proxy_anchor",
    "smooth_ap",
    "soft_triple",
    "softmax_eql",
    "sup_con",
]


def cases_of(name: str) -> list[str]:
    return list(CASES) if name in WAYS else FOR_ALL


def batch(kind: Kind, case: Case) -> tuple[Tensor, Tensor]:
    """Rows of the global batch, unit vectors (N, 6), cosines (N, 10) or logits (N, 10); and labels (N,)."""
    return spoiled(*batch_of(kind, case.labels, case.dtype), case)


def spoiled(rows: Tensor, labels: Tensor, case: Case) -> tuple[Tensor, Tensor]:
    return rows if case.spoiled is None else torch.where((labels == case.spoiled)[:, None], torch.nan, rows), labels


def batch_of(kind: Kind, labels: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(len(labels))
    rows = normalize(torch.randn(len(labels), 6, generator=generator, dtype=torch.float64))
    if kind in ("cosines", "logits"):
        rows = rows @ normalize(torch.randn(10, 6, generator=generator, dtype=torch.float64)).T
    return (3 * rows if kind == "logits" else rows).to(dtype), torch.tensor(labels)


def proxies(dtype: torch.dtype) -> Tensor:
    """Two for each of 10 classes: (10, 2, 6)."""
    return torch.randn(10, 2, 6, generator=torch.Generator().manual_seed(98), dtype=torch.float64).to(dtype)


def arguments(kind: Kind, rows: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What a loss is called with before the labels and after them, all of it made of the rows."""
    if kind == "logits_and_vectors":
        return 3 * rows @ proxies(rows.dtype)[:, 0].T, (rows,)
    if kind == "experts":
        return 3 * torch.einsum("nd,ced->nec", rows, proxies(rows.dtype)), ()
    return rows, (proxies(rows.dtype),) if kind == "proxies" else ()


def memory_rows() -> tuple[Tensor, Tensor]:
    """Vectors (S, 6) float32 and labels (S,) of earlier steps."""
    generator = torch.Generator().manual_seed(99)
    return normalize(torch.randn(len(MEMORY_LABELS), 6, generator=generator)), torch.tensor(MEMORY_LABELS)


def value_and_gradient(name: str, case: Case) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient by this process's rows as parameters would see it after averaging over processes."""
    kind, loss = LOSSES[name]
    rows, labels = batch(kind, case)
    if dist.world_size() > 1:
        own = slice(case.first, None) if dist.rank() else slice(case.first)
        rows, labels = rows[own], labels[own]
    rows.requires_grad_()
    takes_memory = case.with_memory and name in COMPARING
    first, more = arguments(kind, rows)
    memory = {"memory": spoiled(*memory_rows(), case)} if takes_memory else {}
    value = loss.over_ranks(first, labels, *more, step=STEP, **memory)
    value.backward()
    assert rows.grad is not None
    return value.detach(), rows.grad / dist.world_size()


Found = dict[str, dict[str, tuple[Tensor, Tensor]]]


def found_by_this_process() -> Found:
    return {name: {case: value_and_gradient(name, CASES[case]) for case in cases_of(name)} for name in LOSSES}


@pytest.fixture(scope="module")
def one_and_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, list[Found]]:
    two = on_two_processes(found_by_this_process, tmp_path_factory.mktemp("two"))
    return found_by_this_process(), two


@pytest.mark.dist
@pytest.mark.parametrize("name", LOSSES)
def test_two_processes_have_the_loss_and_gradient_of_one(one_and_two: tuple[Found, list[Found]], name: str) -> None:
    one, two = one_and_two
    for case, (value, gradient) in one[name].items():
        if case == "a row of one process is NaN":
            assert all(found[name][case][0].isnan() for found in [one, *two])
            continue
        tolerance = 1e-5 if CASES[case].dtype == torch.float32 else 1e-10
        assert [float(found[name][case][0]) for found in two] == pytest.approx([float(value)] * 2, rel=tolerance), case
        difference = torch.cat([found[name][case][1] for found in two]) - gradient
        assert float(difference.abs().max()) <= tolerance * float(gradient.abs().max()), case


@pytest.mark.dist
def test_the_losses_are_not_zeros_and_a_memory_changes_them(one_and_two: tuple[Found, list[Found]]) -> None:
    for name, found in one_and_two[0].items():
        assert float(found["with a memory"][1].abs().max()) > 1e-6, name
        without = value_and_gradient(name, UNEVEN)[0]
        assert (found["with a memory"][0] != without) == (name in COMPARING), name


def test_every_loss_stands_in_the_table() -> None:
    assert set(ENTRIES) == {name.split()[0] for name in LOSSES}


@pytest.mark.parametrize("name", LOSSES)
def test_on_one_process_the_loss_of_all_is_the_batchs_own(name: str) -> None:
    kind, loss = LOSSES[name]
    rows, labels = batch(kind, CASES["even"])
    if kind in ("proxies", "logits_and_vectors", "experts"):
        first, more = arguments(kind, rows)
        assert loss.over_ranks(first, labels, *more, step=STEP) == loss(first, labels, *more)
    else:
        assert loss.over_ranks(rows, labels, step=STEP) == loss(rows, labels, step=STEP)
