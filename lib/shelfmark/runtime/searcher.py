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
from shelfmark.retrieval.stores import Place
from shelfmark.retrieval.where import rows_where
from shelfmark.runtime.opened_index import open_model_of_index
from shelfmark.runtime.photographs import EmbeddedPhotographs, embed_photographs
from shelfmark.runtime.trained_model import TrainedModel


def require_images(searcher: Searcher, folder: Path, k: int) -> None:
    """Raises a UserError if the index in `folder` is empty; says so if fewer than k of its images are searched."""
    if not len(searcher.index):
        raise UserError(f"{folder} is empty: all its images were removed. Add some with `shelfmark index add`.")
    if searcher.num_searched < k:
        fitting = "" if searcher.among is None else " that fit --where"
        told = counted(searcher.num_searched, "image")
        say(f"note: {folder} has {told}{fitting}, fewer than --k {k}; all of them are compared")


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
    Of an index in a Milvus the vectors are there: what is removed meanwhile is no longer found.
    Several threads may ask at once. With more than 64 photographs a question they need data.num_workers=0, since loader
    processes are forked.
    """

    index: Index
    model: TrainedModel
    among: np.ndarray | None = None
    """(n,) rising rows of the index, the only ones that are searched; None for all."""

    @classmethod
    def open(
        cls,
        folder: Path,
        checkpoint: Path | None = None,
        overrides: Sequence[Override] = (),
        *,
        place: Place | None = None,
        where: Sequence[str] = (),
    ) -> Searcher:
        """Reads and checks the index in `folder` and its model.

        checkpoint: the present place of the model, if it was moved. place: likewise, of the database with the vectors.
        where: conditions on the images that are searched, as of `rows_where`. UserError: `checkpoint` is another model,
        or the overrides change its embeddings.
        """
        model, facts = open_model_of_index(folder, checkpoint, overrides)
        index = read_index(folder, place)
        if index.facts != facts:
            raise UserError(f"{folder} was built anew while it was opened. Open it again.")
        return cls(index, model, rows_where(index.records, where))

    def answer(self, photos: Sequence[Path | bytes], k: int = 10) -> NearestImages:
        """The K nearest images of the index to each photograph: K is k, or the number of images that are searched."""
        embedded = self.embed(photos)
        near = self.nearest(embedded.features, k)
        scores = np.full((len(photos), near.scores.shape[1]), -np.inf, dtype=near.scores.dtype)
        ids = np.full(scores.shape, -1, dtype=np.int64)
        scores[embedded.rows], ids[embedded.rows] = near
        return NearestImages(Neighbours(scores, ids), embedded.errors)

    def embed(self, photos: Sequence[Path | bytes | np.ndarray]) -> EmbeddedPhotographs:
        """As `embed_photographs`, with the model of the index."""
        return embed_photographs(self.model, photos)

    def nearest(self, features: np.ndarray, k: int) -> Neighbours[np.ndarray]:
        """As `answer`, for embeddings (Q, D)."""
        # Without a readable photograph nothing was embedded, and nothing says how long an embedding is.
        features = features if len(features) else np.empty((0, self.index.dim), np.float32)
        return self.index.search(features, min(k, max(1, self.num_searched)), self.among)

    @property
    def num_searched(self) -> int:
        return len(self.index) if self.among is None else len(self.among)
