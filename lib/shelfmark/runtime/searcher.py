"""An index and the model of its vectors, opened once and asked often.

Legend: Q photographs, D embedding, K neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shelfmark.config.overrides import Override
from shelfmark.core.errors import UserError
from shelfmark.retrieval import Neighbours
from shelfmark.retrieval.index import Index
from shelfmark.retrieval.index_files import read_index
from shelfmark.runtime.opened_index import open_model_of_index
from shelfmark.runtime.photographs import EmbeddedPhotographs, embed_photographs
from shelfmark.runtime.trained_model import TrainedModel


@dataclass(frozen=True, eq=False)
class NearestImages:
    """Of Q photographs. neighbours: (Q, K), by their rows in the index; a photograph that could not be read has none.

    errors: why it could not, by its row among the Q.
    """

    neighbours: Neighbours[np.ndarray]
    errors: Mapping[int, str]


@dataclass(frozen=True, eq=False)
class Searcher:
    """Answers which images of an index are nearest to photographs.

    The whole index is in memory: a searcher answers from the index as it was when it was opened, whatever becomes of
    the folder meanwhile. Open another searcher to see the change. Several threads may ask at once; with more than 64
    photographs a question, set data.num_workers=0 then, since loader processes are forked.
    """

    index: Index
    model: TrainedModel

    @classmethod
    def open(cls, folder: Path, checkpoint: Path | None = None, overrides: Sequence[Override] = ()) -> Searcher:
        """Reads and checks the index in `folder` and its model, by default from where that lay when it was built.

        Raises UserError where `checkpoint` is another model, or the overrides make it embed in another way.
        """
        model, facts = open_model_of_index(folder, checkpoint, overrides)
        index = read_index(folder)
        if index.facts != facts:
            raise UserError(f"{folder} was built anew while it was opened. Open it again.")
        return cls(index, model)

    def answer(self, photos: Sequence[Path | bytes], k: int = 10) -> NearestImages:
        """The k nearest images of the index to each photograph, K = k or fewer where the index has fewer."""
        embedded = self.embed(photos)
        near = self.nearest(embedded.features, k)
        scores = np.full((len(photos), near.scores.shape[1]), -np.inf, dtype=near.scores.dtype)
        ids = np.full(scores.shape, -1, dtype=np.int64)
        scores[embedded.rows], ids[embedded.rows] = near
        return NearestImages(Neighbours(scores, ids), embedded.errors)

    def embed(self, photos: Sequence[Path | bytes]) -> EmbeddedPhotographs:
        """As `embed_photographs`, by the model of the index."""
        return embed_photographs(self.model, photos)

    def nearest(self, features: np.ndarray, k: int) -> Neighbours[np.ndarray]:
        """As `answer`, of embeddings (Q, D)."""
        if not len(features):
            return Neighbours(np.empty((0, 0), np.float32), np.empty((0, 0), np.int64))
        return self.index.search(features, min(k, max(1, len(self.index))))
