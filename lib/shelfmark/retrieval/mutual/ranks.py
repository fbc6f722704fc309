"""Ranks of positives where images are searched among themselves, on a CPU.

The score of two images is the same either way, so a tile of scores serves its rows and its columns: half the products
of a search row by row. Tiles are cut between classes. So the tile of some images with themselves has the scores of all
their positives, and in the other tiles the scores above these are counted.

Legend: N images, D embedding, R positives, n images of a tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shelfmark.ops.positive_ranks import PositiveRanks
from shelfmark.retrieval.exact import squared_norms
from shelfmark.retrieval.mutual.threads import in_threads
from shelfmark.retrieval.mutual.tile_ranks import ahead_in_columns, ahead_in_rows
from shelfmark.retrieval.query_gallery import RowsByKey

_EDGE = 1024
# The first tile's vectors and the work memory are kept while this many second tiles are compared with it.
_TILES_AT_A_TIME = 4


def mutual_ranks(
    vectors: Tensor, labels: np.ndarray, most_positives: int, metric: str
) -> Iterator[tuple[np.ndarray, PositiveRanks]]:
    """Rows (n,) and the ranks of their positives among all other rows, for images of 1 to most_positives positives.

    vectors: (N, D) on the CPU, as `comparable` makes them. labels: (N,), -1 for no query and no one's positive.
    most_positives is less than the edge of a tile. A row is its own id. Ties: docs/definitions.md.
    """
    assert most_positives < _EDGE, most_positives
    # A multiple of eight: masks are counted in words of eight bytes.
    edge = min(_EDGE, len(labels) // 8 * 8 + 8)
    queries, tiles = _tiles(labels, most_positives, edge)
    squares = squared_norms(vectors) if metric == "euclidean" else None
    counter = _Counter(vectors, squares, edge, queries, tiles)
    strips = [
        _Strip(first, range(start, min(start + _TILES_AT_A_TIME, len(tiles))))
        for first in range(len(queries))
        for start in range(first, len(tiles), _TILES_AT_A_TIME)
    ]
    ahead = [np.zeros(tile.places.shape, dtype=np.int64) for tile in queries]
    for counts in in_threads(counter.counts, strips):
        for number, count in counts:
            ahead[number] += count
    for tile, count in zip(queries, ahead):
        ranks = np.where(tile.places < 0, np.inf, 1.0 + count)
        yield tile.rows, PositiveRanks(torch.from_numpy(np.sort(ranks, axis=1)))


@dataclass(frozen=True)
class _Tile:
    """rows: (n,) images. places: (n, R) the images that are their positives, -1 for none; R = 0 for no queries."""

    rows: np.ndarray
    places: np.ndarray


@dataclass(frozen=True)
class _Strip:
    """The tile `first`, to be compared with the tiles `seconds`."""

    first: int
    seconds: range


class _Counter:
    """Counts the images ahead of positives, tile against tile. squares: (N,) squared lengths, for distances only.

    All products have one shape, edge x edge, so that equal vectors score equally wherever they stand.
    """

    def __init__(
        self, vectors: Tensor, squares: Tensor | None, edge: int, queries: list[_Tile], tiles: list[_Tile]
    ) -> None:
        self._vectors, self._squares, self._edge, self._tiles = vectors, squares, edge, tiles
        self._own = list(in_threads(self._own_scores, queries))

    def counts(self, strip: _Strip) -> list[tuple[int, np.ndarray]]:
        """Numbers of query tiles, and the (n, R) images that the strip finds ahead of their positives."""
        first = self._tiles[strip.first]
        columns, memory = (self._vectors.new_empty(self._edge, size) for size in (self._vectors.shape[1], self._edge))
        rows = self._gathered(first, torch.empty_like(columns))
        of_first, found = np.zeros(first.places.shape, dtype=np.int64), []
        for number in strip.seconds:
            products = torch.mm(rows, self._gathered(self._tiles[number], columns).T, out=memory)[: len(first.rows)]
            of_first += self._ahead_in_rows(products, strip.first, number)
            if strip.first < number < len(self._own):
                found.append((number, self._ahead_in_columns(products, strip.first, number)))
        return [(strip.first, of_first), *found]

    def _ahead_in_rows(self, products: Tensor, first: int, second: int) -> np.ndarray:
        tile, others = self._tiles[first], self._tiles[second].rows
        scores = self._row_scores(products, others)
        scores[:, len(others) :] = -torch.inf
        if first == second:
            scores.fill_diagonal_(-torch.inf)
        return ahead_in_rows(scores.numpy(), self._own[first], self._filled_up(others, -1), tile.places)

    def _ahead_in_columns(self, products: Tensor, first: int, second: int) -> np.ndarray:
        others, tile = self._tiles[first].rows, self._tiles[second]
        scores = products if self._squares is None else 2 * products - self._squares[others][:, None]
        own, places = self._filled_up(self._own[second], np.inf), self._filled_up(tile.places, -1)
        return ahead_in_columns(scores.numpy(), own, others, places)[: len(tile.rows)]

    def _own_scores(self, tile: _Tile) -> np.ndarray:
        """(n, R) scores of a tile's images with their positives, inf for none."""
        vectors = self._gathered(tile, self._vectors.new_empty(self._edge, self._vectors.shape[1]))
        scores = self._row_scores(torch.mm(vectors, vectors.T)[: len(tile.rows)], tile.rows).numpy()
        order = np.argsort(tile.rows)
        columns = order[np.searchsorted(tile.rows, tile.places, sorter=order)]
        own = scores[np.arange(len(tile.rows))[:, None], columns]
        own[tile.places < 0] = np.inf
        return own

    def _row_scores(self, products: Tensor, columns: np.ndarray) -> Tensor:
        # The same scores as those of `retrieval.exact.products`.
        if self._squares is None:
            return products
        return 2 * products - torch.from_numpy(self._filled_up(self._squares.numpy()[columns], 0))

    def _gathered(self, tile: _Tile, out: Tensor) -> Tensor:
        """(edge, D) the tile's vectors and zeros, in out."""
        torch.index_select(self._vectors, 0, torch.from_numpy(tile.rows), out=out[: len(tile.rows)])
        out[len(tile.rows) :] = 0
        return out

    def _filled_up(self, values: np.ndarray, value: float) -> np.ndarray:
        """(edge, ...): the (n, ...) values, then `value` in the other rows."""
        return np.pad(values, [(0, self._edge - len(values))] + [(0, 0)] * (values.ndim - 1), constant_values=value)


def _tiles(labels: np.ndarray, most_positives: int, edge: int) -> tuple[list[_Tile], list[_Tile]]:
    """The tiles of the queries, and those followed by tiles of all other images."""
    same_label = RowsByKey(labels)
    num_same = same_label.count(labels)
    is_query = (labels >= 0) & (num_same > 1) & (num_same <= 1 + most_positives)
    # Classes of one size stand together, so that few places are padding.
    order = np.lexsort((labels, num_same))
    rows, others = order[is_query[order]], order[~is_query[order]]
    is_last = np.append(np.diff(labels[rows]) != 0, True)[: len(rows)]
    queries = []
    for block in _pieces(1 + np.flatnonzero(is_last), edge):
        same = same_label.rows(labels[rows[block]])
        # Each image stands once among those of its class.
        queries.append(_Tile(rows[block], same[same != rows[block, None]].reshape(len(same), -1)))
    empty = [others[start : start + edge] for start in range(0, len(others), edge)]
    return queries, [*queries, *(_Tile(one, np.empty((len(one), 0), dtype=np.int64)) for one in empty)]


def _pieces(ends: np.ndarray, most: int) -> Iterator[slice]:
    """Consecutive slices that each end at one of `ends`, as long as possible with at most `most` items."""
    start = 0
    while len(ends) and start < ends[-1]:
        end = int(ends[np.searchsorted(ends, start + most, side="right") - 1])
        yield slice(start, end)
        start = end
