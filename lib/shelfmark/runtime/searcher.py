"""An index and the model of its vectors, opened once for many questions.

Legend: Q photographs, D embedding, K neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shelfmark.config.overrides import Override
from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.core.wording import counted
from shelfmark.retrieval import Neighbours
from shelfmark.retrieval.index import Index
from shelfmark.retrieval.index_files import read_index
from shelfmark.runtime.opened_index import open_model_of_index
from shelfmark.runtime.photographs import EmbeddedPhotographs, embed_photographs
from shelfmark.runtime.trained_model import TrainedModel


def require_images(index: Index, folder: Path, k: int) -> None:
    """Raises a UserError if the index in `folder` is empty; says so if it has fewer than k images."""
    if not len(index):
        raise UserError(f"{folder} is empty: all its images were removed. Add some with `shelfmark index add`.")
    if len(index) < k:
        say(f"note: {folder} has {counted(len(index), 'image')}, fewer than --k {k}; all of them are compared")


@dataclass(frozen=True, eq=False)
class NearestImages:
    """The answer for Q photographs. neighbours: (Q, K), rows of the index; an unreadable photograph has none.

    errors: row of an unreadable photograph -> the reason.
    """

    neighbours: Neighbours[np.ndarray]
    errors: Mapping[int, str]


@dataclass(frozen=True, eq=False)
class Searcher:
    """Answers which images of an index are nearest to photographs.

    The whole index is in memory, so a searcher does not see later changes of the folder: open another one for these.
    Several threads may ask at once. With more than 64 photographs a question they need data.num_workers=0, since loader
    processes are forked.
    """

    index: Index
    model: TrainedModel

    @classmethod
    def open(cls, folder: Path, checkpoint: Path | None = None, overrides: Sequence[Override] = ()) -> Searcher:
        """Reads and checks the index in `folder` and its model.

        checkpoint: the present place of the model, if it was moved. UserError: `checkpoint` is another model, or the
        overrides change its embeddings.
        """
        model, facts = open_model_of_index(folder, checkpoint, overrides)
        index = read_index(folder)
        if index.facts != facts:
            raise UserError(f"{folder} was built anew while it was opened. Open it again.")
        return cls(index, model)

    def answer(self, photos: Sequence[Path | bytes], k: int = 10) -> NearestImages:
        """The K nearest images of the index to each photograph: K is k, or the size of a smaller index."""
        embedded = self.embed(photos)
        near = self.nearest(embedded.features, k)
        scores = np.full((len(photos), near.scores.shape[1]), -np.inf, dtype=near.scores.dtype)
        ids = np.full(scores.shape, -1, dtype=np.int64)
        scores[embedded.rows], ids[embedded.rows] = near
        return NearestImages(Neighbours(scores, ids), embedded.errors)

    def embed(self, photos: Sequence[Path | bytes]) -> EmbeddedPhotographs:
        """As `embed_photographs`, with the model of the index."""
        return embed_photographs(self.model, photos)

    def nearest(self, features: np.ndarray, k: int) -> Neighbours[np.ndarray]:
        """As `answer`, for embeddings (Q, D)."""
        # Without a readable photograph nothing was embedded, and nothing says how long an embedding is.
        features = features if len(features) else np.empty((0, self.index.dim), np.float32)
        return self.index.search(features, min(k, max(1, len(self.index))))
