"""How the kernels are launched: padding, tiles, tables, and which part of the work a program has.

Legend: Q queries, G gallery rows, D embedding, P the most positives of a query, B queries of a strip.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from shelfmark.core.errors import UserError
from shelfmark.ops.soft_rank.pairs import Pairs
from shelfmark.ops.soft_rank.ranking import Ranking

_NUM_PROGRAMS = 512
"""This number fills a large GPU. Where there are fewer blocks of queries, several programs share a block."""

_STRIP_ROWS = 2048
_STRIP_ELEMENTS = 2**27
"""The most rows and elements of a strip of derivatives, which holds one block of queries at least."""


@dataclass(frozen=True)
class Tile:
    """The shape of the similarity tile that a program holds, and how the program is run."""

    queries: int
    gallery_rows: int
    dims: int
    num_warps: int
    num_stages: int

    @classmethod
    def of(cls, dim: int) -> Tile:
        """Long vectors want large tiles, which load less for each product; short ones many programs at a time."""
        if dim <= 128:
            return cls(queries=64, gallery_rows=64, dims=32, num_warps=4, num_stages=3)
        return cls(queries=128, gallery_rows=128, dims=32, num_warps=8, num_stages=3)


@dataclass(frozen=True)
class Programs:
    """The kernels' work on one ranking.

    positive_columns: (P, Q) int32, as in `Pairs`. shared: the arguments that both kernels take.
    """

    ranking: Ranking
    tile: Tile
    positive_columns: Tensor
    shared: dict[str, Any]

    @classmethod
    def of(cls, ranking: Ranking, pairs: Pairs, positives: Tensor) -> Programs:
        """The work on float32 vectors. positives: (Q, P) similarities."""
        query, gallery = ranking.query, ranking.gallery
        tile = Tile.of(query.shape[1])
        padded = _padded(query, tile.dims)
        _, classes = torch.cat([ranking.query_labels, ranking.gallery_labels]).unique(return_inverse=True)
        query_classes, gallery_classes = classes.int().split([len(query), len(gallery)])
        shared = {
            "query": padded,
            "gallery": padded if ranking.one_batch else _padded(gallery, tile.dims),
            "query_classes": query_classes,
            "gallery_classes": gallery_classes,
            "num_positives": pairs.num_positives.int(),
            "positives": positives.T.contiguous(),
            "num_queries": len(query),
            "num_gallery": len(gallery),
            "dim": padded.shape[1],
            "scale": 1 / ranking.temperature,
            "precision": _precision(query.device),
            "block_q": tile.queries,
            "block_m": tile.gallery_rows,
            "block_d": tile.dims,
            "num_warps": tile.num_warps,
            "num_stages": tile.num_stages,
        }
        columns = pairs.columns.T.int().contiguous()
        return cls(ranking, tile, columns, shared)

    def ahead(self) -> tuple[Tensor, Tensor]:
        """The steps of the negatives ahead of each positive, summed, and the sums of their slopes: (Q, P) both."""
        num_queries = self.shared["num_queries"]
        num_blocks = _ceil_div(num_queries, self.tile.queries)
        num_tiles = _ceil_div(self.shared["num_gallery"], self.tile.gallery_rows)
        tiles_a_split = _ceil_div(num_tiles, max(1, _NUM_PROGRAMS // num_blocks))
        num_splits = _ceil_div(num_tiles, tiles_a_split)
        num_places = len(self.positive_columns)
        block_p = max(4, 1 << (num_places - 1).bit_length())
        ahead, slopes = self.shared["positives"].new_empty(2, num_splits, block_p, num_queries)
        with _launching_on(ahead.device):
            _kernels().count_ahead[num_blocks, num_splits](
                **self.shared,
                ahead=ahead,
                slopes=slopes,
                columns_per_split=tiles_a_split * self.tile.gallery_rows,
                block_p=block_p,
            )
        return ahead.sum(0)[:num_places].T, slopes.sum(0)[:num_places].T

    def gradient_strips(self, by_ahead: Tensor, by_positive: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Which queries, and the total's derivatives by their similarities, (B, G), strip by strip.

        by_ahead, by_positive: (Q, P), as in `Penalties`. Where the queries are the gallery, the derivatives by s_qj and
        s_jq, which are one number, are added up. A strip lives until the next.
        """
        tables = [(table.T / self.ranking.temperature).contiguous() for table in (by_ahead, by_positive)]
        num_queries, num_gallery = self.shared["num_queries"], self.shared["num_gallery"]
        num_rows = min(num_queries, _STRIP_ROWS, max(self.tile.queries, _STRIP_ELEMENTS // num_gallery))
        buffer = by_ahead.new_empty(num_rows, num_gallery)
        num_tiles = _ceil_div(num_gallery, self.tile.gallery_rows)
        for first in range(0, num_queries, num_rows):
            end = min(first + num_rows, num_queries)
            strip = buffer[: end - first]
            with _launching_on(strip.device):
                _kernels().similarity_gradient[_ceil_div(end - first, self.tile.queries), num_tiles](
                    **self.shared,
                    positive_columns=self.positive_columns,
                    by_ahead=tables[0],
                    by_positive=tables[1],
                    gradient=strip,
                    first_row=first,
                    end_row=end,
                    symmetric=self.ranking.one_batch,
                )
            yield slice(first, end), strip


def require(device: torch.device) -> None:
    """UserError unless the kernels can run on vectors of this device."""
    try:
        interprets = _kernels().INTERPRETS
    except ImportError as error:
        raise UserError(
            f"implementation='triton' needs the package triton, which cannot be imported here ({error}). It comes"
            " with torch's CUDA builds for Linux. Use implementation='chunked', or 'auto', which takes what there is."
        ) from error
    if device.type != "cuda" and not interprets:
        raise UserError(
            f"implementation='triton' needs vectors on a CUDA device; these are on {device.type!r}. Use"
            " implementation='chunked', or 'auto', which takes what there is. Tests can set TRITON_INTERPRET=1 before"
            " Python starts."
        )


def _kernels() -> ModuleType:
    from shelfmark.ops.soft_rank import kernels

    return kernels


def _precision(device: torch.device) -> str:
    """How kernels multiply float32: where there is TF32 in three products of it, which together keep all digits."""
    has_tf32 = torch.version.cuda and device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return "tf32x3" if has_tf32 else "ieee"


def _launching_on(device: torch.device) -> AbstractContextManager[Any]:
    """Triton launches on the current device, wherever its arguments are."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _padded(vectors: Tensor, multiple: int) -> Tensor:
    """The rows, contiguous, with zeros behind each up to a number of dimensions that is a multiple of `multiple`."""
    missing = -vectors.shape[1] % multiple
    return pad(vectors, (0, missing)) if missing else vectors.contiguous()


def _ceil_div(count: int, size: int) -> int:
    return -(-count // size)
