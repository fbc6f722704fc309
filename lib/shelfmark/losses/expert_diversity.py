"""Diversity of experts: a reward for experts that spread their doubt differently.

Legend: N batch, X experts, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from shelfmark.core import dist
from shelfmark.core.contracts import UNLABELLED
from shelfmark.losses.checks import require_positive
from shelfmark.losses.loss import HeadOutput, Loss, option
from shelfmark.ops.labelled import labelled_rows
from shelfmark.ops.longtail import Counts, checked_counts
from shelfmark.ops.similarity import compute_dtype


@dataclass(frozen=True, eq=False)
class ExpertDiversity(Loss):
    """-1/(N X) sum_n sum_e KL(p_ne || mean_f p_nf), with p_ne the softmax over classes of z_nec / T_c.

    So it is 0 where the experts agree and negative where they do not, -ln X at the least: a positive weight rewards
    difference. KL from each other expert instead of their mean has no bound, and with logits that may grow it drives
    the experts apart without end. The gradient goes through both sides of KL; nothing is detached.
    T_c = temperature * b_c / max b, b_c = count_share * n_c / mean n + 1 - count_share: the most frequent class has
    `temperature`, rarer ones less, so that the experts are pushed apart most on the rare classes. The paper's
    T_c = temperature * (b_c + 1 - max b) has the same value for the most frequent class, but falls to 0 and below in a
    long tail.
    counts: (C,) training images a class.
    Source: Wang et al., "Long-tailed Recognition by Routing Diverse Distribution-Aware Experts", ICLR 2021, section 3,
    with the mean of the experts in the place of each other one, and the mean over the experts instead of the sum, as
    the classification losses on head `experts` have it.
    """

    adds_over_rows: ClassVar[bool] = True
    consumes: ClassVar[HeadOutput] = "experts"
    default_head: ClassVar[str] = "experts"
    takes_probabilities: ClassVar[bool] = True

    counts: Counts
    temperature: float = option(1.0, "temperature of the softmax for the class with the most training images, above 0")
    count_share: float = option(
        0.05,
        "how much lower the temperature of rarer classes is, 0 to below 1. 0: all classes have the same temperature",
    )
    temperatures: Tensor = field(init=False, repr=False)
    """(C,) float64"""

    def __post_init__(self) -> None:
        require_positive("temperature", self.temperature)
        if not 0 <= self.count_share < 1:
            raise ValueError(f"count_share={self.count_share} must be at least 0 and below 1")
        counts = checked_counts(self.counts)
        balance = self.count_share * counts / counts.mean() + 1 - self.count_share
        object.__setattr__(self, "temperatures", self.temperature * balance / balance.max())

    def __call__(self, logits: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """The loss of this batch alone: 0-dim, float64 for float64, else float32, whatever autocast says.

        logits: (N, X, C), X of 2 or more. labels: (N,) whole numbers, -1 where there is none, or
        probabilities (N, C), all 0 where there is none; they say only which rows count.
        UserError: a row with a label that is not finite; on a GPU, which is not waited for, the loss is NaN instead.
        """
        total, num_rows = self._sums(logits, labels, raises=labels.device.type == "cpu")
        return total / num_rows.clamp_min(1)

    def over_ranks(self, logits: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """The loss of the batch of all processes, 0-dim, the same on each: see `ClassificationLoss.over_ranks`."""
        total, num_rows = self._sums(logits, labels, raises=False)
        return dist.sum_of_parts(total / dist.sum_over_ranks(num_rows).clamp_min(1))

    def _sums(self, logits: Tensor, labels: Tensor, raises: bool) -> tuple[Tensor, Tensor]:
        """The sum over labelled rows, and their number; 0-dim."""
        self._require_fitting(logits, labels)
        batch = labelled_rows(logits, labels, "logits", logits.shape[2], raises=raises, takes_probabilities=True)
        logits, labels = batch.rows.to(compute_dtype(logits)), batch.labels
        with torch.autocast(logits.device.type, enabled=False):
            log_p = (logits / self.temperatures.to(logits)).log_softmax(2)
            log_mean = log_p.logsumexp(1, keepdim=True) - math.log(logits.shape[1])
            divergence = (log_p.exp() * (log_p - log_mean)).sum(2).mean(1)
            counted = (labels.sum(1) > 0) if labels.is_floating_point() else labels != UNLABELLED
            return -(divergence * counted).sum() * batch.soundness, counted.sum().to(logits)

    def _require_fitting(self, logits: Tensor, labels: Tensor) -> None:
        if logits.ndim != 3 or logits.shape[1] < 2:
            raise ValueError(f"logits must be (rows, experts, classes) of 2 or more experts, not {tuple(logits.shape)}")
        if labels.shape != ((logits.shape[0], logits.shape[2]) if labels.is_floating_point() else logits.shape[:1]):
            raise ValueError(f"labels {labels.dtype} {tuple(labels.shape)} do not fit logits {tuple(logits.shape)}")
        if len(self.temperatures) != logits.shape[2]:
            raise ValueError(f"counts has {len(self.temperatures)} class counts, the logits have {logits.shape[2]}")
