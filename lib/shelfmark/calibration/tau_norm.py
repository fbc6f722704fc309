"""tau-norm: a classifier whose rows are divided by a power of their lengths.

Legend: N images, C classes, D embedding, T taus tried. Source: Kang et al. 2020, section 4.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Self

import torch
from torch import Tensor

from shelfmark.calibration.calibrated import Calibrated, Linear, blocks
from shelfmark.calibration.folds import choose_by_folds, fold_rows, hit_scores, labelled, require_folds
from shelfmark.calibration.sweep import Candidate, sweep_hits
from shelfmark.core.errors import UserError, choose
from shelfmark.core.types import Array, Counts
from shelfmark.ops.class_metrics import Scores


def tau_normalized(weight: Tensor, tau: float) -> Tensor:
    """(C, D): each row w of weight as w / |w|**tau. tau=0 gives the same numbers; a row of zeros stays zero."""
    if weight.ndim != 2:
        raise ValueError(f"weight is {tuple(weight.shape)}; expected (C, D)")
    return (weight.double() * _row_lengths(weight).pow(-tau)[:, None]).to(weight.dtype)


class TauNorm(Linear):
    """Chooses tau on validation features by mean class accuracy. The unmodified classifier is a candidate too.

    The candidates are the unmodified weight and bias, and for each tau the normalised weight with the bias as it is
    (bias="keep") or without it (bias="zero"). The rule takes the candidate with the greatest mean class accuracy; of
    equal ones the unmodified one, then the smallest tau. Applied to all of val, the rule gives the result. For a score
    on images that were not used for tuning, the rule is also applied k times to all folds but one, whose images the
    winner then predicts. The pooled predictions of the k folds give `cross_validated_`. Folds are stratified by class.

    Learned: tau_ (0.0 where the unmodified classifier won), chosen_is_unmodified_, weight_, bias_;
    table_, one row a candidate scored on all of val; cross_validated_, scores of the pooled folds;
    fold_taus_, the winner of each fold, None for the unmodified one.
    """

    tau_: float
    chosen_is_unmodified_: bool
    weight_: Tensor
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
        features, labels = labelled(features, labels, weight.shape[1], len(weight), "tau-norm")
        require_folds(labels, self.folds, "tau-norm's tau", "tau_norm.folds")
        hits = self._hits(features, labels, weight, bias)
        groups = (labels, len(weight), counts, many, few)
        candidates: list[float | None] = [None, *self.taus]
        self.table_ = [
            {"model": "unmodified" if tau is None else "tau-norm", "tau": tau, **hit_scores(row, *groups)}
            for tau, row in zip(candidates, hits)
        ]
        choice = choose_by_folds(hits, labels, self.folds, self.seed)
        self.chosen_is_unmodified_ = choice.best == 0
        self.tau_ = candidates[choice.best] or 0.0
        self._unmodified = weight.detach().clone(), None if bias is None else bias.detach().clone()
        self.weight_, self.bias_ = self._classifier(candidates[choice.best])
        self.fold_taus_ = [candidates[winner] for winner in choice.fold_winners]
        self.cross_validated_ = hit_scores(choice.held_out_hits, *groups)
        return self

    def held_out(self, features: Array, labels: Array) -> Iterator[tuple[Tensor, Calibrated]]:
        """The images of each fold with the winner of the other folds."""
        for rows, tau in zip(fold_rows(labels, self.folds, self.seed), self.fold_taus_):
            yield rows, Linear(*self._classifier(tau))

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

    def _classifier(self, tau: float | None) -> tuple[Tensor, Tensor | None]:
        weight, bias = self._unmodified
        if tau is None:
            return weight, bias
        return tau_normalized(weight, tau), bias if bias is None or self.bias == "keep" else torch.zeros_like(bias)

    def _hits(self, features: Array, labels: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(1 + T, N) bool: whether each candidate is right; the unmodified one first."""
        dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        rows = weight.detach().to(dtype)
        offset = None if bias is None else bias.detach().to(rows)
        kept = offset if self.bias == "keep" else None
        smallest, largest = torch.finfo(dtype).tiny, torch.finfo(dtype).max
        lengths = _row_lengths(weight)
        scales = [lengths.pow(-tau).clamp(smallest, largest).to(dtype) for tau in self.taus]
        candidates = [Candidate(bias=offset), *(Candidate(scale, kept) for scale in scales)]
        hits = torch.empty(len(candidates), len(labels), dtype=torch.bool)
        for block in blocks(len(labels), len(rows)):
            products = torch.as_tensor(features[block]).to(rows) @ rows.T
            hits[:, block] = sweep_hits(products, labels[block].to(rows.device), candidates, "tau-norm").cpu()
        return hits


def _row_lengths(weight: Tensor) -> Tensor:
    """(C,) float64 |w| of each row; 1 for a row of zeros."""
    lengths = torch.linalg.vector_norm(weight.detach(), dim=1, dtype=torch.float64)
    return lengths.masked_fill(lengths == 0, 1)
