"""Proxy Anchor: each class proxy against the whole batch.

Legend: N batch, C classes, J proxies a class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from shelfmark.core import dist
from shelfmark.core.contracts import UNLABELLED
from shelfmark.losses.checks import require_not_negative, require_positive
from shelfmark.losses.cosine_softmax import labelled_cosines
from shelfmark.losses.loss import HeadOutput, Loss, option
from shelfmark.ops.log_sum_exp import masked_log_sum_exp
from shelfmark.ops.margins import sub_center
from shelfmark.ops.similarity import compute_dtype


@dataclass(frozen=True)
class ProxyAnchorLoss(Loss):
    """Pulls the rows of a class to its proxy, and pushes other rows away from it; the hardest rows count most.

    The mean over the classes in the batch of ln(1 + sum over their rows of exp(-alpha (cosine - margin))), and the
    mean over all C classes of ln(1 + sum over the other rows of exp(alpha (cosine + margin))). With J proxies a class
    the nearest counts. Rows with label -1 take no part; without any other row the loss is 0. See docs/losses.md.
    Source: Kim, Kim, Cho, Kwak, "Proxy Anchor Loss for Deep Metric Learning", CVPR 2020, eq. 4.
    """

    consumes: ClassVar[HeadOutput] = "cosines"

    margin: float = option(
        0.1, "cosines should be above margin with the label's proxy, and below -margin with other proxies; 0 or above"
    )
    alpha: float = option(32.0, "sharpness. The larger, the more the hardest images count; above 0")

    def __post_init__(self) -> None:
        require_not_negative("margin", self.margin)
        require_positive("alpha", self.alpha)

    def __call__(self, cosine: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """The loss of this batch alone: 0-dim, float64 for float64, else float32.

        cosine: (N, C) or (N, C, J). labels: (N,) whole numbers, -1 where there is none. step: no matter here.
        UserError: a row with a label that is not finite; on a GPU, which is not waited for, the loss is NaN instead.
        """
        log_sums, sizes = self._over_rows(cosine, labels, raises=labels.device.type == "cpu")
        return _mean_over_classes(log_sums[None], sizes)

    def over_ranks(self, cosine: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """The loss of the batch of all processes, 0-dim, the same on each; cosine and labels are this one's part.

        Its gradient keeps the rule of `shelfmark.core.dist`. What travels is (2, C), whatever the number of rows.
        """
        log_sums, sizes = self._over_rows(cosine, labels, raises=False)
        return _mean_over_classes(dist.gather_rows(log_sums[None]), dist.sum_over_ranks(sizes))

    def _over_rows(self, cosine: Tensor, labels: Tensor, raises: bool) -> tuple[Tensor, Tensor]:
        """The logarithms of the sums over this process's rows, of a class's own and of the others: (2, C).

        And how many rows each class has: (C,).
        """
        batch = labelled_cosines(cosine, labels, raises)
        cosine, labels = sub_center(batch.rows).to(compute_dtype(cosine)), batch.labels
        is_own = labels[:, None] == torch.arange(cosine.shape[1], device=labels.device)
        is_other = ~is_own & (labels != UNLABELLED)[:, None]
        pulled = masked_log_sum_exp(-self.alpha * (cosine - self.margin).T, is_own.T)
        pushed = masked_log_sum_exp(self.alpha * (cosine + self.margin).T, is_other.T)
        return torch.stack([pulled, pushed]) * batch.soundness, is_own.sum(0)


def _mean_over_classes(log_sums: Tensor, sizes: Tensor) -> Tensor:
    """The loss. log_sums: (processes, 2, C), of each process. sizes: (C,) rows of each class on all of them."""
    pulled, pushed = torch.cat([torch.zeros_like(log_sums[:1]), log_sums]).logsumexp(0)
    return pulled.sum() / (sizes > 0).sum().clamp_min(1) + pushed.mean()
