"""An index and its model in a Python program. Legend: N images, K neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shelfmark.api.model import Model
from shelfmark.api.options import overrides_of
from shelfmark.core.errors import UserError
from shelfmark.core.milvus_place import Place
from shelfmark.pipelines.search import GalleryImage, gallery_images
from shelfmark.runtime.searcher import Searcher


@dataclass(frozen=True, eq=False)
class Gallery:
    """Finds the images of an index that look most like others. The index is in memory: later changes are not seen."""

    searcher: Searcher

    @property
    def model(self) -> Model:
        """The model of the index's vectors."""
        return Model(self.searcher.model)

    def search(
        self, images: Iterable[Any], k: int = 10, batch_size: int | None = None
    ) -> list[tuple[GalleryImage, ...]]:
        """N tuples: for each image the K most similar ones of the index, the best first. K is k, or fewer in a small
        index.

        images, batch_size, UserError: as of `Model`.
        """
        if k < 1:
            raise UserError(f"k={k}: ask for at least one neighbour.")
        near = self.searcher.nearest(self.model.embed(images, batch_size), k)
        records = self.searcher.index.records
        return [gallery_images(records, scores, ids) for scores, ids in zip(near.scores, near.ids)]


def load_index(
    folder: str | Path,
    checkpoint: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    where: str | Sequence[str] = (),
    store: str | None = None,
) -> Gallery:
    """The index in a folder that `shelfmark index build` wrote, and its model.

    checkpoint: the present place of the model, if it was moved. options: dotted name -> value, such as
    `{"train.device": "cpu"}`. where: conditions on the images that are searched, such as `"group=tea"`; one, or several
    of which all hold. store: the present place of the Milvus with the vectors, such as `"milvus://shop.db"`, if it was
    moved. UserError: the index, its model or its vectors are not there or do not fit; no image meets the conditions.
    """
    searcher = Searcher.open(
        Path(folder),
        None if checkpoint is None else Path(checkpoint),
        overrides_of(options),
        place=None if store is None else Place.of(store),
        where=(where,) if isinstance(where, str) else where,
    )
    return Gallery(searcher)
