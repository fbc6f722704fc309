"""One pass over images, their embeddings to disk. Legend: N images, D embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from shelfmark.core import dist
from shelfmark.core.contracts import Batch, Embeddings
from shelfmark.core.disk import disk_full_told
from shelfmark.core.embeddings import EmbeddingsWriter, read_embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.folders import atomic_folder
from shelfmark.core.strings import Strings


class Rows(Protocol):
    """What is known of the images, row by row: an annotation table is one."""

    @property
    def labels(self) -> np.ndarray: ...
    @property
    def image_ids(self) -> Strings: ...
    @property
    def paths(self) -> Strings: ...


def extract(
    embed: Callable[[Tensor], Tensor],
    batches: Iterable[Batch],
    table: Rows,
    folder: Path,
    manifest: Mapping[str, object],
    report: Callable[[int], None] | None = None,
) -> Embeddings:
    """The embeddings of a table's images, written to `folder`, whole or not at all, and read back.

    embed: images (n, 3, H, W) to features (n, D), un-normalised. batches: this process's share; several
    processes fill one folder, which they must all reach. Images that no batch holds, because they could
    not be read, are left out. manifest: how the features are made. report: called with each batch's size.
    """
    stream = _embedded(embed, batches, table)
    first = next(stream, None)
    with _working_folder(folder) as part:
        writer = _writer(part, len(table.labels), None if first is None else first[1].shape[1])
        for rows, features in chain([] if first is None else [first], stream):
            writer.write(rows, features)
            if report:
                report(len(rows))
        dist.barrier()
        if dist.is_main():
            writer.finish(table.labels, table.image_ids, table.paths, manifest)
    # The first process renames the folder as it leaves the block.
    dist.barrier()
    return read_embeddings(folder)


def _embedded(
    embed: Callable[[Tensor], Tensor], batches: Iterable[Batch], table: Rows
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for batch in batches:
        if not len(batch):
            continue
        with torch.inference_mode():
            features = embed(batch.images).float().cpu().numpy()
        rows = batch.rows.numpy()
        broken = ~np.isfinite(features).all(axis=1)
        if broken.any():
            raise UserError(
                f"The embedding of {table.paths[rows[broken.argmax()]]} holds NaN or infinity. The weights are broken "
                "or the precision is too small: take an earlier checkpoint, or set train.precision=fp32."
            )
        yield rows, features


@contextmanager
def _working_folder(folder: Path) -> Iterator[Path]:
    """The folder that all processes write to; the first one makes it and renames it to `folder` at the end."""
    if not dist.is_main():
        with disk_full_told(folder):
            yield dist.broadcast_object(folder)
        return
    with atomic_folder(folder) as part:
        yield dist.broadcast_object(part)


def _writer(part: Path, num_rows: int, dim: int | None) -> EmbeddingsWriter:
    """This process's writer. A process without a batch of its own learns D from the others."""
    known = {one for one in dist.gather_objects(dim) if one is not None}
    if not known:
        raise UserError("There is no image to embed: the list is empty, or none of its images could be read.")
    (agreed,) = known
    writer = EmbeddingsWriter(part, num_rows, agreed) if dist.is_main() else None
    dist.barrier()
    return writer or EmbeddingsWriter(part, num_rows, agreed, create=False)
