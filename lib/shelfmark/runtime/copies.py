"""Pictures that are searched for and have an exact copy in the gallery, under another name. They are only told."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from shelfmark.core.contracts import Embeddings
from shelfmark.core.files import sha256_file
from shelfmark.core.log import say
from shelfmark.data.identity import image_numbers
from shelfmark.data.table import Table


def tell_copies(features: Embeddings, table: Table) -> None:
    """Says how many queries have a copy among the other gallery pictures. No score changes.

    Only pictures with the same embedding, bit for bit, are compared, so that hardly a file is read; a copy whose
    embedding rounded otherwise is not noticed.
    """
    ids = image_numbers(features.paths, table.root)
    everyone = np.ones(len(features), dtype=bool)
    is_query = everyone if table.is_query is None else table.is_query[features.rows]
    is_gallery = everyone if table.is_gallery is None else table.is_gallery[features.rows]
    found: list[tuple[int, int]] = []
    for rows in _copies(features, table.take(features.rows)):
        gallery = rows[is_gallery[rows]]
        for query in rows[is_query[rows]]:
            others = gallery[ids[gallery] != ids[query]]
            found += [(int(query), int(others[0]))] if len(others) else []
    if found:
        query, other = found[0]
        what = "1 query has" if len(found) == 1 else f"{len(found):,} queries have"
        say(
            f"note: {what} an exact copy in the gallery under another name, such as {features.paths[query]} and"
            f" {features.paths[other]}. Copies are neighbours like any other, so the retrieval scores may be too high"
        )


def _copies(features: Embeddings, table: Table) -> Iterator[np.ndarray]:
    """Rows (n,) of pictures with the same content, n at least 2. table: the rows of the features."""
    for rows in _groups((row, features.features[row].tobytes()) for row in range(len(features))):
        for same_size in _groups(_told(table, rows, os.path.getsize)):
            yield from (np.array(group) for group in _groups(_told(table, same_size, sha256_file)))


def _told(table: Table, rows: Iterable[int], of: Callable[[Path], object]) -> Iterator[tuple[int, object]]:
    """Rows, and what `of` says of their files; without those whose file is gone."""
    for row in rows:
        with suppress(OSError):
            yield row, of(table.path(row))


def _groups(pairs: Iterable[tuple[int, object]]) -> list[list[int]]:
    """The rows of each key that several rows have."""
    found: dict[object, list[int]] = defaultdict(list)
    for row, key in pairs:
        # The key itself would keep every embedding in memory.
        found[hash(key)].append(row)
    return [rows for rows in found.values() if len(rows) > 1]
