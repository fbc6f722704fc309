"""Which rows of a batch a loss looks at, and whether their values can be used. Legend: N rows, C classes.

Nothing here waits for a GPU unless a caller asks for an error. Without that, a wrong value on a GPU makes the loss NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from shelfmark.core.contracts import UNLABELLED
from shelfmark.core.errors import UserError
from shelfmark.ops.similarity import compute_dtype


@dataclass(frozen=True)
class LabelledRows:
    """A batch in which rows that take no part hold zeros: infinity times a weight of 0 would be NaN.

    rows: (N, ...). labels: (N,) int64, -1 for a row that takes no part; or (N, C), the probabilities of the classes.
    soundness: 0-dim; 1, or NaN where a row with a label is not finite or a label is out of range. A loss is multiplied
    by it: the loss keeps its digits, or becomes NaN together with its gradient.
    """

    rows: Tensor
    labels: Tensor
    soundness: Tensor


def labelled_rows(
    rows: Tensor,
    labels: Tensor,
    name: str,
    num_classes: int | None = None,
    *,
    raises: bool,
    takes_probabilities: bool = False,
) -> LabelledRows:
    """The rows (N, ...) that have a label and are finite; the others take no part.

    labels: (N,) whole numbers of any kind, -1 where there is none; where a loss takes them, also the probabilities of
    the classes (N, C), all 0 where there is none.
    name: what errors call the rows. raises: whether labelled rows that are not finite raise a UserError, which waits
    for a GPU. Otherwise they make the loss NaN, here and, by the sum over processes, on every process.
    ValueError: labels of a wrong shape, kind or, on a CPU, range.
    """
    if takes_probabilities and labels.is_floating_point():
        is_labelled, is_wrong = (labels != 0).any(1), None
    else:
        labels = class_labels(labels, len(rows), num_classes)
        is_wrong = labels < UNLABELLED if num_classes is None else (labels < UNLABELLED) | (labels >= num_classes)
        is_labelled = labels != UNLABELLED
    is_finite = finite_rows(rows)
    is_unfit = is_labelled & ~is_finite if is_wrong is None else is_wrong | (is_labelled & ~is_finite)
    if raises and bool(is_unfit.any()):
        _require_range(labels, num_classes)
        raise not_finite(name, is_unfit)
    takes_part = is_labelled & ~is_unfit
    if is_wrong is not None:
        labels = labels.where(takes_part, UNLABELLED)
    soundness = torch.where(is_unfit.any(), math.nan, 1.0).to(compute_dtype(rows))
    return LabelledRows(_blanked(rows, takes_part), labels, soundness)


def class_labels(labels: Tensor, num_rows: int, num_classes: int | None = None) -> Tensor:
    """The labels as int64: (N,). Raises a ValueError unless they are `num_rows` whole numbers in -1..num_classes - 1.

    Labels on a GPU are left unread: it would stall the step.
    """
    if labels.dtype == torch.bool:
        raise ValueError(
            "labels must be class numbers, not torch.bool: convert them with labels.long() if False and True are"
            " classes 0 and 1"
        )
    if labels.shape != (num_rows,) or labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"labels must be {num_rows} whole numbers, not {labels.dtype} {tuple(labels.shape)}")
    labels = labels.to(torch.int64)
    if labels.device.type == "cpu":
        _require_range(labels, num_classes)
    return labels


def finite_rows(rows: Tensor) -> Tensor:
    """Which rows hold finite values alone: (N, ...) to (N,) bool."""
    values = rows.detach().flatten(1)
    # On a CPU a sum takes a tenth of the time; where it is finite, so is all that it is a sum of.
    if not values.numel() or (rows.device.type == "cpu" and bool(_sums(values).isfinite().all())):
        return torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    # NaN comes through both. `isfinite` would write several tensors of the size of the rows.
    least, greatest = torch.aminmax(values, dim=1)
    return least.isfinite() & greatest.isfinite()


def not_finite(name: str, is_unfit: Tensor) -> UserError:
    """The error that names some rows: (N,) bool."""
    rows = is_unfit.nonzero()[:, 0].tolist()
    named = ", ".join(map(str, rows[:5])) + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")
    return UserError(
        f"the values of the {name} that a loss was given are not finite in rows {named} of {len(is_unfit)}."
        " Training has diverged: lower optim.lr, add optim.schedule.warmup_epochs or optim.clip_norm,"
        " or set train.precision=fp32."
    )


def _sums(values: Tensor) -> Tensor:
    return values.sum(1, dtype=compute_dtype(values))


def _require_range(labels: Tensor, num_classes: int | None) -> None:
    if labels.is_floating_point() or not len(labels):
        return
    least, greatest = int(labels.min()), int(labels.max())
    if least >= UNLABELLED and (num_classes is None or greatest < num_classes):
        return
    if num_classes is None:
        raise ValueError(f"labels lie in {least}..{greatest}; a class is 0 or above, and -1 says that there is none")
    raise ValueError(f"labels lie in {least}..{greatest}; {num_classes} classes allow -1..{num_classes - 1}")


def _blanked(rows: Tensor, takes_part: Tensor) -> Tensor:
    """The rows, with zeros where a row takes no part."""
    if rows.device.type == "cpu" and bool(takes_part.all()):
        return rows
    return torch.where(takes_part.reshape(-1, *[1] * (rows.ndim - 1)), rows, 0)
