"""The patches that two pictures share. Legend: C channels, H x W pixels of a map, n pairs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class Matches:
    """n pairs of patches, each the other's nearest, the pair that adds most to the likeness first.

    query, gallery: (n, 2) int64, row and column in the maps. cosine: (n,). share: (n,) 0 to 1, of the products of all
    pairs: a patch that the network ignores has a short vector, and adds little however like it is.
    """

    query: Tensor
    gallery: Tensor
    cosine: Tensor
    share: Tensor


def mutual_matches(query: Tensor, gallery: Tensor) -> Matches:
    """The mutual nearest patches of two last maps (C, H, W), by cosine; each picture may have its own H and W.

    Of several equally near patches the first counts.
    """
    ours, theirs = query.flatten(1).T, gallery.flatten(1).T
    cosines = F.normalize(ours, dim=1) @ F.normalize(theirs, dim=1).T
    forth, back = cosines.argmax(dim=1), cosines.argmax(dim=0)
    rows = torch.arange(len(ours), device=forth.device)
    rows = rows[back[forth] == rows]
    columns = forth[rows]
    cosine = cosines[rows, columns]
    products = (ours[rows] * theirs[columns]).sum(dim=1).clamp_min(0)
    order = torch.argsort(-products, stable=True)
    share = products / products.sum().clamp_min(1e-20)
    return Matches(
        _cells(rows[order], query.shape[2]), _cells(columns[order], gallery.shape[2]), cosine[order], share[order]
    )


def _cells(places: Tensor, width: int) -> Tensor:
    return torch.stack([places // width, places % width], dim=1)
