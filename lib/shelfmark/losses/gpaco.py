"""GPaCo: a contrast of rows with each other and with the classifier's classes at once.

Legend: N batch, C classes, D embedding, B queries of a block, G gallery rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from shelfmark.core.contracts import UNLABELLED
from shelfmark.losses.checks import require_not_negative, require_positive
from shelfmark.losses.entries import RetrievalLossEntry
from shelfmark.losses.loss import HeadOutput, Loss, option
from shelfmark.losses.pairs import PairLoss, Pairs
from shelfmark.losses.retrieval import Sums
from shelfmark.ops.labelled import class_labels, finite_rows, not_finite
from shelfmark.ops.log_sum_exp import masked_log_sum_exp
from shelfmark.ops.longtail import Counts, log_prior
from shelfmark.ops.similarity import compute_dtype


@dataclass(frozen=True, eq=False)
class GPaCo(Loss):
    """-(beta ln p_y + alpha sum_P ln p_j) / (beta + alpha |P|), mean over the rows that have a label.

    p is one softmax over the C classes, with (z_c + ln n_c / N) / center_temperature, and over all labelled rows but
    the row itself, with s_j / temperature. P: the rows of the label. The logits z stand for the paper's learned
    centres; s_j are dot products of vectors. At test the largest z decides, without the counts.
    counts: (C,) training images a class, at least 1 each in the logarithm.
    Source: Cui et al., "Parametric Contrastive Learning", ICCV 2021, eq. 5 and 6; without a momentum encoder as in
    "Generalized Parametric Contrastive Learning", TPAMI 2023.
    """

    consumes: ClassVar[HeadOutput] = "logits_and_vectors"
    default_head: ClassVar[str] = "classifier"

    counts: Counts
    alpha: float = option(0.05, "weight of each other image of the same class, 0 or above")
    beta: float = option(1.0, "weight of the class itself, by its logit, above 0")
    temperature: float = option(
        0.2,
        "temperature of the similarities between images. The smaller, the more the most similar images count; above 0",
    )
    center_temperature: float = option(
        1.0, "temperature of the classifier's logits, which are in the same softmax as the similarities; above 0"
    )
    log_prior: Tensor = field(init=False, repr=False)
    """(C,) float64, ln n_c / N"""

    def __post_init__(self) -> None:
        require_not_negative("alpha", self.alpha)
        for name in ("beta", "temperature", "center_temperature"):
            require_positive(name, getattr(self, name))
        object.__setattr__(self, "log_prior", log_prior(self.counts))

    def __call__(self, logits: Tensor, labels: Tensor, vectors: Tensor, step: int = 0) -> Tensor:
        """0-dim. logits: (N, C). labels: (N,) whole numbers, -1 where there is none. vectors: (N, D) of length 1.

        UserError: a row with a label whose logits or vector are not finite.
        """
        terms = self._class_terms(logits, labels)
        is_unfit = terms.isnan().any(1)
        if bool(is_unfit.any()):
            raise not_finite("logits", is_unfit)
        return self._contrast(vectors, labels, step=step, query_terms=terms)

    def over_ranks(
        self,
        logits: Tensor,
        labels: Tensor,
        vectors: Tensor,
        step: int = 0,
        memory: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """The loss of the batch of all processes, 0-dim: see `RetrievalLoss.over_ranks`. memory: of vectors."""
        terms = self._class_terms(logits, labels)
        return self._contrast.over_ranks(vectors, labels, step=step, memory=memory, query_terms=terms)

    @property
    def _contrast(self) -> _Contrast:
        return _Contrast(self.alpha, self.beta, self.temperature)

    def _class_terms(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N, 2), what the pairs need to know of the logits: 0 without label, NaN where the logits are not finite."""
        if logits.ndim != 2 or logits.shape[1] != len(self.log_prior):
            raise ValueError(f"logits must be (rows, {len(self.log_prior)} classes), not {tuple(logits.shape)}")
        labels = class_labels(labels, *logits.shape)
        is_labelled, is_class = labels != UNLABELLED, (labels >= 0) & (labels < logits.shape[1])
        prior = self.log_prior.to(logits.device, compute_dtype(logits))
        columns = torch.where(is_class, labels, 0)[:, None]
        terms = _ClassTerms.apply(logits, columns, is_labelled[:, None], prior, self.center_temperature)
        is_unfit = is_labelled & ~(is_class & finite_rows(logits))
        return terms * torch.where(is_unfit, math.nan, 1.0).to(terms)[:, None]


@dataclass(frozen=True)
class _Contrast(PairLoss):
    """The loss, once two numbers of each query say all of its logits: see `_ClassTerms`."""

    alpha: float
    beta: float
    temperature: float

    def pair_sums(self, pairs: Pairs) -> Sums:
        assert pairs.query_terms is not None, "`GPaCo` gives them"
        of_classes, at_label = pairs.query_terms.unbind(1)
        similarity = pairs.similarity / self.temperature
        of_rows = masked_log_sum_exp(similarity, pairs.positive | pairs.negative)
        at_positives = torch.where(pairs.positive, similarity, 0).sum(1)
        weight = self.beta + self.alpha * pairs.positive.sum(1, dtype=similarity.dtype)
        wanted = (self.beta * at_label + self.alpha * at_positives) / weight
        losses = torch.logaddexp(of_classes, of_rows) - wanted
        is_labelled = pairs.query_labels != UNLABELLED
        return Sums(losses[is_labelled].sum()[None], is_labelled.sum()[None])


class _ClassTerms(torch.autograd.Function):
    """(N, 2): ln sum_c exp((z_c + prior_c) / T), and (z + prior) / T at the label; 0 without label.

    Autograd would keep a second (N, C), which with 50,030 classes is the largest tensor of a step: the logits alone
    are kept, and the softmax is computed again.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, is_labelled: Tensor, prior: Tensor, temperature: float
    ) -> Tensor:
        adjusted = (logits + prior).div_(temperature)
        of_classes = adjusted.logsumexp(1)
        ctx.save_for_backward(logits, labels, is_labelled, prior, of_classes)
        ctx.temperature = temperature
        terms = torch.stack([of_classes, adjusted.gather(1, labels)[:, 0]], dim=1)
        return terms.masked_fill_(~is_labelled, 0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None, None]:
        logits, labels, is_labelled, prior, of_classes = ctx.saved_tensors
        by_sum, by_label = (upstream[0] / ctx.temperature).split(1, dim=1)
        gradient = (logits + prior).div_(ctx.temperature).sub_(of_classes[:, None]).exp_().mul_(by_sum)
        gradient.scatter_add_(1, labels, by_label).masked_fill_(~is_labelled, 0)
        return gradient.to(logits.dtype), None, None, None, None


@dataclass(frozen=True, kw_only=True)
class TwoHeadEntry(RetrievalLossEntry):
    """An entry whose loss takes the logits of one head and the vectors of another."""

    vectors_head: str = option(..., "name of the metric head whose vectors are compared")

    @property
    def inputs(self) -> Mapping[str, tuple[str, HeadOutput]]:
        return {"head": (self.head, "logits"), "vectors_head": (self.vectors_head, "vectors")}
