"""The classes that lie next to a class in the classifier. Legend: n rows, C classes, D embedding, K neighbours."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize


def class_neighbours(weight: Tensor, classes: np.ndarray, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """The k classes whose rows have the highest cosine with those of n classes: classes and cosines, (n, K) each.

    weight: (C, D) of the classifier. A class is not its own neighbour; K is k, or C - 1 where that is less.
    """
    rows = normalize(weight.detach().float().cpu(), dim=1)
    asked = torch.from_numpy(np.asarray(classes, dtype=np.int64))
    cosines = rows[asked] @ rows.T
    cosines[torch.arange(len(asked)), asked] = -torch.inf
    values, found = cosines.topk(min(k, len(rows) - 1), dim=1)
    return found.numpy(), values.numpy()
