"""Mean features. Legend: N images, C classes, D embedding."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK_VALUES = 1 << 24


def means_by_label(features: Tensor, labels: Tensor, num_labels: int) -> Tensor:
    """(C, D) mean of the features of each label, of the features' dtype; zeros for a label without an image.

    Summed in float64, so that neither the blocks nor the order of the images shows. features: (N, D). labels: (N,)
    int64 below num_labels, a negative one leaves its image out.
    """
    sums = features.new_zeros(num_labels, features.shape[1], dtype=torch.float64)
    for rows in torch.arange(len(labels), device=labels.device).split(max(1, _BLOCK_VALUES // features.shape[1])):
        kept = rows[labels[rows] >= 0]
        sums.index_add_(0, labels[kept], features[kept].double())
    counts = torch.bincount(labels[labels >= 0], minlength=num_labels)
    return (sums / counts.clamp_min(1)[:, None]).to(features.dtype)
