"""tau-norm: a classifier whose rows are divided by a power of their lengths.

Legend: N images, C classes, D embedding, T taus. Source: Kang et al. 2020, section 4.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Self

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.errors import UserError, choose
from shelfmark.core.rng import numpy_generator
from shelfmark.ops.class_metrics import Counts, Scores, group_accuracies
from shelfmark.ops.rank_metrics import mean_or_none

Array = Tensor | np.ndarray
_BLOCK_LOGITS = 1 << 24  # 64 MB of float32 logits at a time, and as much again for their rescaled copy
_SAME_SCORE = 1e-12


def tau_normalized(weight: Tensor, tau: float) -> Tensor:
    """(C, D): each row w of weight as w / |w|**tau. tau=0 gives the same numbers; a row of zeros stays zero."""
    if weight.ndim != 2:
        raise ValueError(f"weight is {tuple(weight.shape)}; expected (C, D)")
    return (weight.double() * _row_scales(weight, tau)[:, None]).to(weight.dtype)


class TauNorm:
    """Chooses tau on validation features by mean class accuracy. The unmodified classifier is a candidate too.

    The candidates are the unmodified weight and bias, and for each tau the normalised weight with the bias
    as it is (bias="keep") or without it (bias="zero"). The rule: the candidate with the greatest mean class
    accuracy; of equal ones the one that changes least, which is the unmodified one, then the smallest tau.
    The rule is applied to all of val for the result, and, to report a score that was not tuned on the very
    images it is measured on, k times: to all folds but one, whose images are then predicted by the winner.
    The pooled predictions of the k folds give `cross_validated_`. Folds are stratified by class.

    Learned: tau_ (0.0 where the unmodified classifier won), chosen_is_unmodified_, weight_, bias_;
    table_, one row a candidate scored on all of val; cross_validated_, scores of the pooled folds;
    fold_taus_, the winner of each fold, None for the unmodified one.
    """

    tau_: float
    chosen_is_unmodified_: bool
    weight_: Tensor
    bias_: Tensor | None
    table_: list[dict[str, float | str | None]]
    cross_validated_: Scores
    fold_taus_: list[float | None]

    def __init__(self, taus: Iterable[float], bias: str = "zero", folds: int = 5, seed: int = 0) -> None:
        self.taus = sorted({float(tau) for tau in taus})
        if not self.taus or not all(math.isfinite(tau) and tau >= 0 for tau in self.taus):
            raise UserError(f"tau-norm needs one or more taus, each at least 0; got {self.taus}.")
        if folds < 2:
            raise UserError(f"tau_norm.folds={folds}: tau is chosen on some folds and scored on another, so give 2.")
        self.bias = choose("tau_norm.bias", bias, ("keep", "zero"))
        self.folds = folds
        self.seed = seed

    def fit(
        self,
        features: Array,
        labels: Array,
        weight: Tensor,
        bias: Tensor | None = None,
        counts: Counts | None = None,
        many: int = 100,
        few: int = 20,
    ) -> Self:
        """Sweeps all taus over one product of features (N, D) and weight (C, D), block by block.

        labels: (N,), -1 leaves an image out. bias: (C,) or None. counts: (C,) training images a class, for
        the many-, medium- and few-shot columns of the table. Computed in float32 on the weight's device.
        """
        features, labels = _labelled(features, labels, weight, self.folds)
        hits = self._hits(features, labels, weight, bias)
        groups = (counts, many, few)
        candidates: list[float | None] = [None, *self.taus]
        self.table_ = [
            {"model": "unmodified" if tau is None else "tau-norm", "tau": tau, **_scores(row, labels, weight, *groups)}
            for tau, row in zip(candidates, hits)
        ]
        best = _winner(hits, labels)
        self.chosen_is_unmodified_ = best == 0
        self.tau_ = candidates[best] or 0.0
        self.weight_ = weight.detach().clone() if best == 0 else tau_normalized(weight.detach(), self.tau_)
        self.bias_ = None if bias is None else bias.detach().clone()
        if self.bias_ is not None and best > 0 and self.bias == "zero":
            self.bias_.zero_()

        held_out = stratified_folds(labels.numpy(), self.folds, self.seed)
        winners = [_winner(hits[:, held_out != fold], labels[held_out != fold]) for fold in range(self.folds)]
        pooled = hits[torch.tensor(winners)[held_out], torch.arange(len(labels))]
        self.fold_taus_ = [candidates[winner] for winner in winners]
        self.cross_validated_ = _scores(pooled, labels, weight, *groups)
        return self

    @property
    def summary_(self) -> dict[str, object]:
        """Scores before, after (tuned on the same images) and cross-validated, and the taus of the folds."""
        chosen = 0 if self.chosen_is_unmodified_ else 1 + self.taus.index(self.tau_)
        before, after = ({name: self.table_[row][name] for name in self.cross_validated_} for row in (0, chosen))
        return {
            "unmodified": before,
            "recalibrated": after,
            "cross_validated": self.cross_validated_,
            "fold_taus": self.fold_taus_,
        }

    def _hits(self, features: Array, labels: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(1 + T, N) bool: whether each candidate is right; the unmodified one first."""
        dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        rows = weight.detach().to(dtype)
        offset = torch.zeros(len(rows), dtype=dtype, device=rows.device) if bias is None else bias.detach().to(rows)
        kept = offset if self.bias == "keep" else torch.zeros_like(offset)
        largest = torch.finfo(dtype).max
        scales = [_row_scales(weight, tau).clamp(max=largest).to(dtype) for tau in self.taus]
        hits = torch.empty(1 + len(scales), len(labels), dtype=torch.bool)
        block_rows = max(1, _BLOCK_LOGITS // len(rows))
        for start in range(0, len(labels), block_rows):
            block = slice(start, start + block_rows)
            products = torch.as_tensor(features[block]).to(rows) @ rows.T
            if products.amax(dim=1).isnan().any():
                raise UserError("tau-norm: features or classifier weights hold NaN. Take an earlier checkpoint.")
            wanted = labels[block].to(rows.device)
            hits[0, block] = ((products + offset).argmax(dim=1) == wanted).cpu()
            scaled = torch.empty_like(products)
            for candidate, scale in enumerate(scales, start=1):
                torch.mul(products, scale, out=scaled).add_(kept)
                hits[candidate, block] = (scaled.argmax(dim=1) == wanted).cpu()
        return hits


def stratified_folds(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """(N,) the fold of each image, 0..folds-1. Folds differ by at most one image, in all and within a class."""
    shuffled = numpy_generator(seed, "folds").permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[by_class] = np.arange(len(labels)) % folds
    return fold


def _labelled(features: Array, labels: Array, weight: Tensor, folds: int) -> tuple[Array, Tensor]:
    wanted = torch.as_tensor(labels).cpu()
    if features.ndim != 2 or len(features) != len(wanted) or features.shape[1] != weight.shape[1]:
        raise ValueError(
            f"features {tuple(features.shape)}, labels {tuple(wanted.shape)} and weight {tuple(weight.shape)} "
            "do not fit as (N, D), (N,) and (C, D)"
        )
    if len(wanted) and int(wanted.max()) >= len(weight):
        raise UserError(f"tau-norm: label {int(wanted.max())} is outside the classifier's {len(weight)} classes.")
    is_labelled = wanted >= 0
    if int(is_labelled.sum()) < folds:
        raise UserError(
            f"tau-norm chooses tau in tau_norm.folds={folds} parts, but val has {int(is_labelled.sum())} labelled "
            "images. Lower tau_norm.folds or give more images."
        )
    if not is_labelled.all():
        features = features[is_labelled.to(features.device) if isinstance(features, Tensor) else is_labelled.numpy()]
    return features, wanted[is_labelled].long()


def _row_scales(weight: Tensor, tau: float) -> Tensor:
    """(C,) float64 |w|**-tau of each row; 1 for a row of zeros, which no factor could change."""
    norms = torch.linalg.vector_norm(weight.detach(), dim=1, dtype=torch.float64)
    return norms.masked_fill(norms == 0, 1).pow(-tau)


def _class_accuracy(hits: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """(C,) float64, NaN for a class without an image."""
    right = torch.bincount(labels[hits], minlength=num_classes)
    return right.double() / torch.bincount(labels, minlength=num_classes).double()


def _winner(hits: Tensor, labels: Tensor) -> int:
    """The row of hits with the greatest mean class accuracy, the first of equal ones."""
    num_classes = int(labels.max()) + 1
    scores = [mean_or_none(_class_accuracy(row, labels, num_classes)) or 0.0 for row in hits]
    # Sums in another order may differ in the last digit where the scores are equal.
    return next(row for row, score in enumerate(scores) if score >= max(scores) - _SAME_SCORE)


def _scores(hits: Tensor, labels: Tensor, weight: Tensor, counts: Counts | None, many: int, few: int) -> Scores:
    accuracy = _class_accuracy(hits, labels, len(weight))
    return {
        "top1": mean_or_none(hits),
        "mean_class_accuracy": mean_or_none(accuracy),
        **group_accuracies(accuracy, counts, many, few),
    }
