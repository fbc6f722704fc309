"""One pass over images that writes their embeddings to disk. Legend: N images, D embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from shelfmark.core import dist
from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import EmbeddingsWriter, read_embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.folders import FEATURES, atomic_folder
from shelfmark.core.strings import Strings
from shelfmark.core.together import from_main, together
from shelfmark.core.write_errors import write_errors_told


class Rows(Protocol):
    """The images' labels, ids, paths and boxes, row by row, as an annotation table has them."""

    @property
    def labels(self) -> np.ndarray: ...
    @property
    def image_ids(self) -> Strings: ...
    @property
    def paths(self) -> Strings: ...
    @property
    def boxes(self) -> np.ndarray | None: ...


def extract(
    share: Iterable[tuple[np.ndarray, Tensor]],
    table: Rows,
    folder: Path,
    manifest: Mapping[str, object],
    report: Callable[[int], None] | None = None,
) -> Embeddings:
    """The embeddings of a table's images, written to `folder`, whole or not at all, and read back.

    share: this process's batches: rows (n,) and their un-normalised features (n, D). Several processes fill one folder,
    which all of them must reach. Images that are in no batch, because they could not be read, are left out.
    manifest: how the features are made. report: called with each batch's size.
    """
    stream = _finite(share, table)
    with together():
        first = next(stream, None)
    dim = _agreed_dim(None if first is None else first[1].shape[1])
    with ExitStack() as opened:

        def begin() -> Path:
            with write_errors_told(folder):
                part = opened.enter_context(atomic_folder(folder, kind=FEATURES))
                EmbeddingsWriter(part, len(table.labels), dim)
            return part

        def finish() -> None:
            with write_errors_told(folder):
                writer.finish(table.labels, table.image_ids, table.paths, manifest, boxes=table.boxes)

        part = from_main(begin)
        with together(), write_errors_told(folder):
            writer = EmbeddingsWriter(part, len(table.labels), dim, create=False)
            for rows, features in chain([] if first is None else [first], stream):
                writer.write(rows, features)
                if report:
                    report(len(rows))
        from_main(finish)
        # The first process renames the folder.
        from_main(opened.close)
    with together():
        return read_embeddings(folder)


def finite_features(rows: np.ndarray, values: Tensor, name: Callable[[int], str]) -> np.ndarray:
    """(n, D) float32 of the values (n, D) of the rows (n,). UserError, with the picture's name: one is not finite."""
    features = values.float().cpu().numpy()
    broken = ~np.isfinite(features).all(axis=1)
    if broken.any():
        raise UserError(
            f"The embedding of {name(int(rows[broken.argmax()]))} holds NaN or infinity. The weights are broken "
            "or the precision is too small: take an earlier checkpoint, or set train.precision=fp32."
        )
    return features


def _finite(share: Iterable[tuple[np.ndarray, Tensor]], table: Rows) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for rows, values in share:
        if not len(rows):
            continue
        yield rows, finite_features(rows, values, lambda row: table.paths[row])


def _agreed_dim(dim: int | None) -> int:
    """D, which a process without a batch learns from the others."""
    known = {one for one in dist.gather_objects(dim) if one is not None}
    if not known:
        raise UserError("There is no image to embed: the list is empty, or none of its images could be read.")
    (agreed,) = known
    return agreed
