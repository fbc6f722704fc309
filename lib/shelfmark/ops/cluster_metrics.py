"""Agreement of a clustering with labels. Legend: N items, n_c items of class c, m_k of cluster k, n_ck of both.

Everything is a sum over the cells (c, k) that hold an item, at most N of them: no table of C x K is made. Labels are
any integers. -1 is a label like every other: leave items without a label out beforehand. A share of nothing is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from shelfmark.core.types import Integers


def pairwise(labels_true: Integers, labels_pred: Integers) -> tuple[float, float, float]:
    """(precision, recall, f) over pairs of items.

    precision: the share of the pairs in one cluster that are of one class. recall: the share of the pairs of one class
    that are in one cluster.
    TP = sum n_ck (n_ck - 1) / 2; precision TP / sum m_k (m_k - 1) / 2; recall TP / sum n_c (n_c - 1) / 2;
    f = 2 TP over the sum of the two divisors.
    """
    cells = _Cells.of(labels_true, labels_pred)
    together, clustered, labelled = (
        float((count * (count - 1)).sum()) for count in (cells.both, cells.of_cluster, cells.of_class)
    )
    return (
        _share(together, clustered),
        _share(together, labelled),
        _share(2 * together, clustered + labelled),
    )


def bcubed(labels_true: Integers, labels_pred: Integers) -> tuple[float, float, float]:
    """(precision, recall, f), means over items.

    precision: the share of the item's cluster that has its class. recall: the share of the item's class that is in its
    cluster.
    precision = sum n_ck^2 / m_k / N, recall = sum n_ck^2 / n_c / N, f their harmonic mean.
    Source: Bagga and Baldwin 1998.
    """
    cells = _Cells.of(labels_true, labels_pred)
    if not cells.total:
        return np.nan, np.nan, np.nan
    squares = cells.both.astype(np.float64) ** 2
    precision = float((squares / cells.of_cluster[cells.cluster]).sum() / cells.total)
    recall = float((squares / cells.of_class[cells.label]).sum() / cells.total)
    return precision, recall, 2 * precision * recall / (precision + recall)


def v_measure(labels_true: Integers, labels_pred: Integers) -> tuple[float, float, float]:
    """(homogeneity, completeness, v): I / H(class), I / H(cluster), and their harmonic mean.

    I is the mutual information, H an entropy. Where H is 0 there is nothing to tell, and the share is 1.
    Source: Rosenberg and Hirschberg 2007.
    """
    cells = _Cells.of(labels_true, labels_pred)
    if not cells.total:
        return np.nan, np.nan, np.nan
    of_class, of_cluster = _entropy(cells.of_class), _entropy(cells.of_cluster)
    # Rounding may leave a trace of information where there is none, or too little of it.
    shared = min(max(of_class + of_cluster - _entropy(cells.both), 0.0), of_class, of_cluster)
    homogeneity, completeness = (shared / entropy if entropy > 0 else 1.0 for entropy in (of_class, of_cluster))
    both = homogeneity + completeness
    return homogeneity, completeness, 2 * homogeneity * completeness / both if both else 0.0


def nmi(labels_true: Integers, labels_pred: Integers) -> float:
    """Normalised mutual information: I over the mean of the two entropies, which is v_measure's third.

    1 where both partitions have a single part.
    """
    return v_measure(labels_true, labels_pred)[2]


@dataclass(frozen=True)
class _Cells:
    """of_class: (C,) items of each class; of_cluster: (K,). both: (cells,) n_ck; label, cluster: (cells,) c and k."""

    of_class: np.ndarray
    of_cluster: np.ndarray
    both: np.ndarray
    label: np.ndarray
    cluster: np.ndarray

    @classmethod
    def of(cls, labels_true: Integers, labels_pred: Integers) -> _Cells:
        true, predicted = _integers(labels_true), _integers(labels_pred)
        if true.ndim != 1 or true.shape != predicted.shape:
            raise ValueError(f"labels {true.shape} and clusters {predicted.shape} must both be (N,)")
        _, label, of_class = np.unique(true, return_inverse=True, return_counts=True)
        _, cluster, of_cluster = np.unique(predicted, return_inverse=True, return_counts=True)
        cells, both = np.unique(label * max(1, len(of_cluster)) + cluster, return_counts=True)
        return cls(of_class, of_cluster, both, *np.divmod(cells, max(1, len(of_cluster))))

    @property
    def total(self) -> int:
        return int(self.of_class.sum())


def _integers(labels: Integers) -> np.ndarray:
    array = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(f"labels are {array.dtype}; expected integers")
    return array.astype(np.int64)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _entropy(counts: np.ndarray) -> float:
    share = counts / counts.sum()
    return float(-(share * np.log(share)).sum())
