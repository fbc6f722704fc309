"""Logits with a margin at the label, for a softmax over cosines. Legend: N batch, C classes, J proxies a class.

A row with label -1 has no positive: every class is a negative to it. float64 is computed in float64, anything else in
float32. Of size (N, C) there are the cosines, the logits, and circle's paces.
"""

from __future__ import annotations

import torch
from torch import Tensor

from shelfmark.ops.labelled import class_labels
from shelfmark.ops.similarity import compute_dtype


def arcface(cosine: Tensor, labels: Tensor, margin: float | Tensor, scale: float, monotone: bool = False) -> Tensor:
    """scale * cos(angle + margin) at the label, scale * cosine elsewhere: (N, C).

    cosine: (N, C). labels: (N,) int64. margin: radians in 0..pi/2, one for all rows or (N,).
    Where angle + margin exceeds pi the cosine rises again; `monotone` takes scale * (cosine - margin * sin(margin))
    there, so that a nearer row never has the smaller logit. The slope of the angle is without bound as the cosine nears
    1; at 1 and beyond, where rounding may lead, the angle counts as constant and the slope is cos(margin).
    Source: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019, eq. 3.
    """
    cosine, labels, own = _with_own(cosine, labels)
    margins = _column(margin, own)
    sine = ((1 - own) * (1 + own)).clamp_min(torch.finfo(own.dtype).eps ** 2).sqrt()
    turned = own * margins.cos() - sine * margins.sin()
    if monotone:
        turned = torch.where(own > -margins.cos(), turned, own - margins * margins.sin())
    return _put_at_labels(scale * cosine, labels, scale * turned, scale * own)


def cosface(cosine: Tensor, labels: Tensor, margin: float | Tensor, scale: float) -> Tensor:
    """scale * (cosine - margin) at the label, scale * cosine elsewhere: (N, C).

    cosine: (N, C). labels: (N,) int64. margin: one for all rows or (N,).
    Source: Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", CVPR 2018, eq. 4.
    """
    cosine, labels, own = _with_own(cosine, labels)
    return _put_at_labels(scale * cosine, labels, scale * (own - _column(margin, own)), scale * own)


def circle(cosine: Tensor, labels: Tensor, margin: float | Tensor, scale: float) -> Tensor:
    """Circle loss's logits, each at a pace of its own: (N, C).

    scale * [1 + margin - cosine]+ * (cosine - (1 - margin)) at the label and scale * [cosine + margin]+ *
    (cosine - margin) elsewhere; the factors []+ have no gradient.
    cosine: (N, C). labels: (N,) int64. margin: one for all rows or (N,).
    Source: Sun et al., "Circle Loss: A Unified Perspective of Pair Similarity Optimization", CVPR 2020, eq. 4-8.
    """
    cosine, labels, own = _with_own(cosine, labels)
    margins = _column(margin, own)
    own_pace = scale * (1 + margins - own.detach()).clamp_min_(0)
    at_label = own_pace * (own - (1 - margins))
    return _put_at_labels(_as_negative(cosine, margins, scale), labels, at_label, _as_negative(own, margins, scale))


def sub_center(cosine: Tensor) -> Tensor:
    """The cosine with the nearest proxy of each class: (N, C, J) to (N, C); (N, C) stays as it is.

    Equally near proxies share the gradient. Source: Deng et al., "Sub-center ArcFace: Boosting Face Recognition by
    Large-Scale Noisy Web Faces", ECCV 2020.
    """
    return cosine.amax(2) if cosine.ndim == 3 else cosine


def class_margins(counts: Tensor, smallest: float, largest: float, power: float) -> Tensor:
    """Margins a * counts**-power + b, with a and b such that they reach from `smallest` to `largest`: (C,) float64.

    counts: (C,) training images a class. The rarest class gets `largest`. So do classes without images, and
    all classes where each has the same number of images. Source: Ha et al., "Google Landmark Recognition 2020
    Competition Third Place Solution", 2020.
    """
    if counts.ndim != 1 or not bool((counts > 0).any()) or bool((counts < 0).any()):
        raise ValueError("counts must be (classes,) images a class, 0 or above and not all 0")
    present = counts > 0
    rarity = torch.where(present, counts, 1).to(torch.float64) ** -power
    low, high = rarity[present].min(), rarity[present].max()
    place = torch.where(high > low, (rarity - low) / (high - low), 1)
    return smallest + (largest - smallest) * torch.where(present, place, 1)


def _with_own(cosine: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The cosines in the dtype to compute in, the labels as int64, and the cosines at them: (N, 1).

    Where there is no label it is that of class 0.
    """
    if cosine.ndim != 2 or not cosine.shape[1] or not cosine.is_floating_point():
        raise ValueError(f"cosines must be (rows, classes) of floats, not {cosine.dtype} {tuple(cosine.shape)}")
    labels = class_labels(labels, *cosine.shape)
    cosine = cosine.to(compute_dtype(cosine))
    return cosine, labels, cosine.gather(1, labels.clamp_min(0)[:, None])


def _column(margin: float | Tensor, like: Tensor) -> Tensor:
    """The margins as a column: (N, 1), or (1, 1) of one for all rows."""
    if not isinstance(margin, Tensor):
        return like.new_full((1, 1), margin)
    if margin.shape != (len(like),):
        raise ValueError(f"margin must be a number or {len(like)} of them, one a row, not {tuple(margin.shape)}")
    return margin.to(like)[:, None]


def _as_negative(cosine: Tensor, margins: Tensor, scale: float) -> Tensor:
    """Circle loss's logits of classes that are not the label."""
    pace = (cosine.detach() + margins).clamp_min_(0).mul_(scale)
    return pace * (cosine - margins)


def _put_at_labels(logits: Tensor, labels: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """`logits`, changed in place: `positive` (N, 1) at the labels.

    negative: (N, 1), what class 0 keeps in a row without label; gathered from `logits` it would forbid the change.
    """
    columns = labels.clamp_min(0)[:, None]
    return logits.scatter_(1, columns, torch.where(labels[:, None] == -1, negative, positive))
