"""Ranks of positives where images are searched among themselves, on a CPU.

The score of two images is the same either way, so a tile of scores serves its rows and its columns: half the products
of a search row by row. Tiles are cut between classes. So the tile of some images with themselves has the scores of all
their positives, and in the other tiles the scores above these are counted.

Legend: N images, D embedding, R positives, n images of a tile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shelfmark.ops.positive_ranks import PositiveRanks
from shelfmark.retrieval.exact import squared_norms
from shelfmark.retrieval.mutual.threads import in_threads
from shelfmark.retrieval.mutual.tile_ranks import Marks, ahead_in_columns, ahead_in_rows
from shelfmark.retrieval.query_gallery import RowsByKey

_EDGE = 1024
# A thread takes this many second tiles at a time to compare with a first one.
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
        for start in range(first + 1, len(tiles), _TILES_AT_A_TIME)
    ]
    ahead = counter.ahead_in_own_tile
    for counts in in_threads(counter.counts, strips):
        for number, count in counts:
            ahead[number] += count
    for tile, marks, count in zip(queries, counter.marks, ahead):
        ranks = np.where(marks.items < 0, np.inf, 1.0 + count)[:, : len(tile.rows)].T
        # A sum over a row goes another way, with other last digits, where the row's values stand apart.
        yield tile.rows, PositiveRanks(torch.from_numpy(np.sort(np.ascontiguousarray(ranks), axis=1)))


@dataclass(frozen=True)
class _Tile:
    """rows: (n,) images. places: (n, R) the images that are their positives, -1 for none; R = 0 for no queries.

    start: where the tile's vectors begin among those of all tiles.
    """

    rows: np.ndarray
    places: np.ndarray
    start: int


@dataclass(frozen=True)
class _Strip:
    """The tile `first`, to be compared with the tiles `seconds`."""

    first: int
    seconds: range


class _Memory(threading.local):
    """Each thread's own memory for a tile. Made anew for each tile, it would lie scattered between what is kept."""

    def __init__(self, edge: int, dtype: torch.dtype) -> None:
        self.products = torch.empty(edge, edge, dtype=dtype)
        self.mask = np.empty((edge, edge), dtype=bool)


class _Counter:
    """Counts the images ahead of positives, tile against tile. squares: (N,) squared lengths, for distances only.

    All products have one shape, edge x edge, so that equal vectors score equally wherever they stand. Behind a tile's
    own rows the next tile's fill it up.

    marks: of each query tile, (R, edge). ahead_in_own_tile: (R, edge) for each, what the tile has ahead of its marks.
    """

    def __init__(
        self, vectors: Tensor, squares: Tensor | None, edge: int, queries: list[_Tile], tiles: list[_Tile]
    ) -> None:
        self._edge, self._tiles, self._memory = edge, tiles, _Memory(edge, vectors.dtype)
        order = np.concatenate([tile.rows for tile in tiles]) if tiles else np.empty(0, dtype=np.int64)
        self._vectors = vectors.new_zeros(len(order) + edge, vectors.shape[1])
        torch.index_select(vectors, 0, torch.from_numpy(order), out=self._vectors[: len(order)])
        self._squares = None if squares is None else torch.cat([squares[order], squares.new_zeros(edge)])
        own = list(in_threads(self._own_tile, queries))
        self.marks = [marks for marks, _ in own]
        self.ahead_in_own_tile = [ahead for _, ahead in own]

    def counts(self, strip: _Strip) -> list[tuple[int, np.ndarray]]:
        """Numbers of query tiles, and the (R, edge) images that the strip finds ahead of their marks."""
        first, memory = self._tiles[strip.first], self._memory
        of_first, found = np.zeros_like(self.ahead_in_own_tile[strip.first]), []
        for number in strip.seconds:
            second = self._tiles[number]
            products = torch.mm(self._of(first), self._of(second).T, out=memory.products)
            scores = self._row_scores(products, second)
            of_first += ahead_in_rows(scores, self.marks[strip.first], self._numbers(second), memory.mask)
            if number < len(self.marks):
                scores = self._column_scores(products, first)
                found.append((number, ahead_in_columns(scores, self.marks[number], first.rows, memory.mask)))
        return [(strip.first, of_first), *found]

    def _own_tile(self, tile: _Tile) -> tuple[Marks, np.ndarray]:
        """The tile's marks, and the (R, edge) images of the tile ahead of them."""
        vectors = self._of(tile)
        scores = self._row_scores(torch.mm(vectors, vectors.T, out=self._memory.products), tile)
        order = np.argsort(tile.rows)
        columns = order[np.searchsorted(tile.rows, tile.places, sorter=order)]
        own = scores[np.arange(len(tile.rows))[:, None], columns]
        own[tile.places < 0] = np.inf
        rising = np.argsort(own, axis=1, kind="stable")
        marks = Marks(
            self._filled_up(np.take_along_axis(own, rising, axis=1), np.inf),
            self._filled_up(np.take_along_axis(tile.places, rising, axis=1), -1),
        )
        np.fill_diagonal(scores, -np.inf)
        return marks, ahead_in_rows(scores, marks, self._numbers(tile), self._memory.mask)

    def _row_scores(self, products: Tensor, second: _Tile) -> np.ndarray:
        """(edge, edge) scores of the second tile's images, -inf behind them; the products may be overwritten."""
        # The same scores as those of `retrieval.exact.products`.
        scores = products if self._squares is None else 2 * products - self._of_squares(second)
        scores[:, len(second.rows) :] = -torch.inf
        return scores.numpy()

    def _column_scores(self, products: Tensor, first: _Tile) -> np.ndarray:
        """(n, edge) scores of the first tile's images for the columns."""
        scores = products if self._squares is None else 2 * products - self._of_squares(first)[:, None]
        return scores[: len(first.rows)].numpy()

    def _of(self, tile: _Tile) -> Tensor:
        return self._vectors[tile.start : tile.start + self._edge]

    def _of_squares(self, tile: _Tile) -> Tensor:
        assert self._squares is not None
        return self._squares[tile.start : tile.start + self._edge]

    def _numbers(self, tile: _Tile) -> np.ndarray:
        return np.pad(tile.rows, (0, self._edge - len(tile.rows)), constant_values=-1)

    def _filled_up(self, values: np.ndarray, value: float) -> np.ndarray:
        """(R, edge) of (n, R) values, with `value` behind them."""
        whole = np.full((values.shape[1], self._edge), value, dtype=values.dtype)
        whole[:, : len(values)] = values.T
        return whole


def _tiles(labels: np.ndarray, most_positives: int, edge: int) -> tuple[list[_Tile], list[_Tile]]:
    """The tiles of the queries, and those followed by tiles of all other images."""
    same_label = RowsByKey(labels)
    num_same = same_label.count(labels)
    is_query = (labels >= 0) & (num_same > 1) & (num_same <= 1 + most_positives)
    # Classes of one size stand together, so that few places are padding.
    order = np.lexsort((labels, num_same))
    rows, others = order[is_query[order]], order[~is_query[order]]
    is_last = np.append(np.diff(labels[rows]) != 0, True)[: len(rows)]
    queries: list[_Tile] = []
    for block in _pieces(1 + np.flatnonzero(is_last), edge):
        same = same_label.rows(labels[rows[block]])
        # Each image stands once among those of its class.
        places = same[same != rows[block, None]].reshape(len(same), -1)
        queries.append(_Tile(rows[block], places, block.start))
    last = []
    for start in range(0, len(others), edge):
        some = others[start : start + edge]
        last.append(_Tile(some, np.empty((len(some), 0), dtype=np.int64), len(rows) + start))
    return queries, [*queries, *last]


def _pieces(ends: np.ndarray, most: int) -> Iterator[slice]:
    """Consecutive slices that each end at one of `ends`, as long as possible with at most `most` items."""
    start = 0
    while len(ends) and start < ends[-1]:
        end = int(ends[np.searchsorted(ends, start + most, side="right") - 1])
        yield slice(start, end)
        start = end
