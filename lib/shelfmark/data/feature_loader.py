"""Training batches of stored features.

Legend: N images, n images of them that are stored, B batch, V views, F features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from shelfmark.core.contracts import BadImage, Batch
from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data.samplers import Draw, EpochOrder, rank_batches
from shelfmark.data.substitutes import Substitutes


@dataclass(frozen=True, eq=False)
class StoredViews:
    """features: (n, V, F) float32, often memory-mapped. rows: (n,) int64, the images' rows in the training table.

    first_epoch: the one that draws view 0.
    """

    features: np.ndarray
    rows: np.ndarray
    first_epoch: int = 0


class FeatureLoader:
    """As `TrainLoader`, with features in place of images, and without worker processes.

    The k-th draw of a row in an epoch gets the view that is k after the epoch's own. A row that is not stored, because
    its image could not be read, is reported, and another of its class takes its place. labels, paths: (N,), of the
    training table. seed: of the choice of such rows.
    """

    def __init__(
        self,
        views: StoredViews,
        labels: np.ndarray,
        paths: Sequence[str] | Strings,
        order: EpochOrder,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.views, self.labels, self.paths, self.order = views, labels, paths, order
        self.rank, self.world_size = rank, world_size
        self._place = np.full(len(labels), -1)
        self._place[views.rows] = np.arange(len(views.rows))
        self._substitutes = Substitutes(labels, seed)

    def num_batches(self, epoch: int) -> int:
        """How many batches the whole epoch has."""
        return self.order.num_batches

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The epoch's batches from `start_step` on. UserError: no image can take the place of one that is missing."""
        for draws in rank_batches(self.order, epoch, start_step, self.rank, self.world_size):
            yield self._batch(draws)

    def _batch(self, draws: list[Draw]) -> Batch:
        rows, epochs, occurrences = np.array(draws).T
        places = self._place[rows]
        missing = np.flatnonzero(places < 0)
        bad = tuple(self._reported(int(row)) for row in rows[missing])
        for number in missing:
            rows[number] = self._in_place_of(draws[number])
            places[number] = self._place[rows[number]]
        view = (epochs - self.views.first_epoch + occurrences) % self.views.features.shape[1]
        features = torch.from_numpy(self.views.features[places, view])
        return Batch(features, torch.from_numpy(self.labels[rows]), torch.from_numpy(rows), bad)

    def _in_place_of(self, draw: Draw) -> int:
        for row in self._substitutes.rows_for(draw):
            if self._place[row] >= 0:
                return row
        raise UserError(
            f"{self.paths[draw.row]} could not be read, nor could the images that might take its place."
            " Is data.root right?"
        )

    def _reported(self, row: int) -> BadImage:
        return BadImage(row, str(self.paths[row]), "it could not be read when its features were computed")
