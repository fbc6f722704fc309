"""Whether each of many rescaled and shifted classifiers is right, from one product of features and weights.

Legend: n images of a block, C classes, T candidates tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shelfmark.core.errors import UserError

_CACHE_BYTES = 1 << 21  # The size of a core's second-level cache.


@dataclass(frozen=True, eq=False)
class Candidate:
    """Logits products * scale + bias. scale: (C,), finite and above 0, or None for 1. bias: (C,), or None for 0."""

    scale: Tensor | None = None
    bias: Tensor | None = None

    def of(self, products: Tensor, out: Tensor | None = None) -> Tensor:
        """(n, C) logits, in `out` where something changes."""
        logits = products if self.scale is None else torch.mul(products, self.scale, out=out)
        return logits if self.bias is None else torch.add(logits, self.bias, out=out)

    def at(self, products: Tensor, labels: Tensor) -> Tensor:
        """(n,) logits of one class for each row, from the products (n,) of that class, with the same digits as `of`."""
        logits = products if self.scale is None else products * self.scale[labels]
        return logits if self.bias is None else logits + self.bias[labels]


def sweep_hits(products: Tensor, labels: Tensor, candidates: Sequence[Candidate], method: str) -> Tensor:
    """(T, n) bool: whether each label has the greatest logit of its row; of equal logits the lower class is chosen.

    products: (n, C); NaN is a UserError in the name of the method. labels: (n,) on the same device.

    A tile of rows is read once, and all candidates are tried while it lies in the cache. The label's logit is compared
    with the greatest of the others. The position of that is needed only where the two are equal: a greatest value is
    found many times faster than its position.
    """
    places = labels[:, None]
    own = products.gather(1, places)[:, 0]
    own_logits = torch.stack([candidate.at(own, labels) for candidate in candidates])
    others = torch.empty_like(own_logits)
    for tile in tiles(products):
        rivals = products[tile].scatter(1, places[tile], -torch.inf)
        logits = torch.empty_like(rivals)
        for candidate, greatest in zip(candidates, others):
            torch.amax(candidate.of(rivals, logits), dim=1, out=greatest[tile])
    if others.isnan().any() or own_logits.isnan().any():
        raise UserError(f"{method}: features or classifier weights hold NaN. Take an earlier checkpoint.")
    hits = own_logits > others
    for candidate, hit, is_tied in zip(candidates, hits, own_logits == others):
        rows = is_tied.nonzero()[:, 0]
        hit[rows] = candidate.of(products[rows]).argmax(dim=1) == labels[rows]
    return hits


def tiles(numbers: Tensor, num_copies: int = 2) -> Iterator[slice]:
    """Slices of the rows of a block (n, C) of which `num_copies` fit a processor's cache; on a GPU all rows at once."""
    row_bytes = num_copies * numbers.shape[1] * numbers.element_size()
    size = max(1, _CACHE_BYTES // max(1, row_bytes)) if numbers.device.type == "cpu" else max(1, len(numbers))
    for start in range(0, len(numbers), size):
        yield slice(start, min(start + size, len(numbers)))
