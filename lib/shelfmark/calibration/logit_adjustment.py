"""Logit adjustment after training: lowers the logits of frequent classes.

Legend: N images, C classes, D embedding, T taus tried. Source: Menon et al., "Long-tail learning via logit adjustment",
ICLR 2021, section 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Self

import torch
from torch import Tensor

from shelfmark.calibration.calibrated import Calibrated, Linear, blocks, copied
from shelfmark.calibration.folds import choose_by_folds, fold_rows, hit_scores, labelled, require_folds
from shelfmark.calibration.sweep import Candidate, sweep_hits
from shelfmark.core.errors import UserError
from shelfmark.core.types import Array, Counts
from shelfmark.ops.class_metrics import Scores
from shelfmark.ops.longtail import sampling_probabilities

_TAUS = tuple(round(0.05 * step, 2) for step in range(41))


class LogitAdjustment(Linear):
    """Logits z_c - tau ln pi_c, with the tau that gives the greatest mean class accuracy on validation images.

    counts: (C,) training images a class; pi_c is the class's share of them. A class without images is treated like the
    rarest class with images. taus: to choose from, each 0 or above; 0, the unmodified classifier, is always tried too.
    Of equally good taus the smallest is taken. Rule, folds and estimate are those of `TauNorm`.

    Learned: tau_; weight_, as it was given; bias_, with the adjustment; table_, one row a tau scored on all of val;
    cross_validated_, scores of images by the tau of the other folds; fold_taus_, those taus.
    """

    tau_: float
    bias_: Tensor
    table_: list[dict[str, float | None]]
    cross_validated_: Scores
    fold_taus_: list[float]

    def __init__(self, counts: Counts, taus: Iterable[float] = _TAUS, folds: int = 5, seed: int = 0) -> None:
        self.counts = counts
        self.taus = sorted({0.0, *(float(tau) for tau in taus)})
        if not all(math.isfinite(tau) and tau >= 0 for tau in self.taus):
            raise UserError(f"logit adjustment needs taus of at least 0; got {self.taus}.")
        if folds < 2:
            raise UserError(f"calibrate.folds={folds}: tau is chosen on some folds and scored on another, so give 2.")
        self.folds = folds
        self.seed = seed
        self._log_prior = log_prior(counts)

    def fit(
        self,
        features: Array,
        labels: Array,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        many: int = 100,
        few: int = 20,
    ) -> Self:
        """Sweeps all taus over one product of features (N, D) and weight (C, D), block by block.

        features: (N, C) logits where no weight is given. labels: (N,), -1 leaves an image out. bias: (C,) or None.
        many, few: of the table's groups.
        """
        num_classes = len(self._log_prior)
        if weight is not None and len(weight) != num_classes:
            raise ValueError(f"weight {tuple(weight.shape)} has not one row for each of the {num_classes} counts")
        num_columns = num_classes if weight is None else weight.shape[1]
        features, labels = labelled(features, labels, num_columns, num_classes, "logit adjustment")
        require_folds(labels, self.folds, "the tau of logit adjustment", "calibrate.folds")
        self.weight_, self._bias = copied(weight), copied(bias)
        hits = self._hits(features, labels)
        groups = (labels, num_classes, self.counts, many, few)
        self.table_ = [{"tau": tau, **hit_scores(row, *groups)} for tau, row in zip(self.taus, hits)]
        choice = choose_by_folds(hits, labels, self.folds, self.seed)
        self.tau_ = self.taus[choice.best]
        self.bias_ = self._bias_at(self.tau_)
        self.fold_taus_ = [self.taus[winner] for winner in choice.fold_winners]
        self.cross_validated_ = hit_scores(choice.held_out_hits, *groups)
        return self

    def held_out(self, features: Array, labels: Array) -> Iterator[tuple[Tensor, Calibrated]]:
        """The images of each fold with the tau of the other folds."""
        for rows, tau in zip(fold_rows(labels, self.folds, self.seed), self.fold_taus_):
            yield rows, Linear(self.weight_, self._bias_at(tau))

    def _bias_at(self, tau: float) -> Tensor:
        return adjusted_bias(-tau * self._log_prior, self.weight_, self._bias)

    def _hits(self, features: Array, labels: Tensor) -> Tensor:
        """(T, N) bool: whether the label has the greatest logit at each tau."""
        products_of = Linear(self.weight_)
        like = products_of.logits(features[:1])
        candidates = [Candidate(bias=self._bias_at(tau).to(like)) for tau in self.taus]
        hits = torch.empty(len(candidates), len(labels), dtype=torch.bool)
        for block in blocks(len(labels), len(self._log_prior)):
            products = products_of.logits(features[block])
            wanted = labels[block].to(products.device)
            hits[:, block] = sweep_hits(products, wanted, candidates, "logit adjustment").cpu()
        return hits


def log_prior(counts: Counts) -> Tensor:
    """(C,) float64 logarithm of each class's share; an empty class has that of the rarest class with images."""
    shares = sampling_probabilities(counts)
    return shares.clamp_min(shares[shares > 0].min()).log()


def adjusted_bias(adjustment: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """(C,) bias + adjustment, summed in float64, in the dtype of the bias, else of the weight, else float64."""
    like = bias if bias is not None else weight if weight is not None else adjustment
    known = torch.zeros_like(adjustment) if bias is None else bias.detach().double()
    return (known + adjustment.to(known.device)).to(like)
