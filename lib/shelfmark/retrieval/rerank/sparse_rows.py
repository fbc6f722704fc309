"""A matrix of few values. Legend: N rows, n rows asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class SparseRows:
    """Row r holds entries starts[r] to starts[r + 1]: their columns, rising, and values; everything else is 0.

    starts: (N + 1,) int64. columns: (entries,) int64. values: (entries,).
    """

    starts: Tensor
    columns: Tensor
    values: Tensor

    @classmethod
    def of_entries(cls, rows: Tensor, columns: Tensor, values: Tensor, num_rows: int, num_columns: int) -> Self:
        """From entries (entries,) in any order; entries of the same place are added up."""
        places, which = (rows * num_columns + columns).unique(return_inverse=True)
        summed = values.new_zeros(len(places)).index_add_(0, which, values)
        counts = torch.bincount(places // num_columns, minlength=num_rows)
        return cls(_starts(counts), places % num_columns, summed)

    @classmethod
    def stacked(cls, parts: Sequence[Self]) -> Self:
        """The rows of the parts, one after another."""
        counts = torch.cat([part.counts for part in parts])
        columns, values = (torch.cat([getattr(part, name) for part in parts]) for name in ("columns", "values"))
        return cls(_starts(counts), columns, values)

    @property
    def counts(self) -> Tensor:
        """(N,) entries of each row."""
        return self.starts.diff()

    def entries(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The entries of rows (n,), one row after another: place in `rows`, column and value, each (entries,)."""
        counts = self.counts[rows]
        place = torch.arange(len(rows), device=rows.device).repeat_interleave(counts)
        first = (self.starts[rows] - (counts.cumsum(0) - counts)).repeat_interleave(counts)
        entry = first.add_(torch.arange(len(place), device=rows.device))
        # Indexing with brackets takes twice as long.
        return place, self.columns.index_select(0, entry), self.values.index_select(0, entry)

    def columns_of(self, rows: Tensor, num_columns: int) -> Self:
        """The transpose of rows (n,): one row for each of the columns, holding places in `rows`."""
        place, column, value = self.entries(rows)
        order = column.argsort(stable=True)
        counts = torch.bincount(column, minlength=num_columns)
        return type(self)(_starts(counts), place[order], value[order])


def _starts(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
