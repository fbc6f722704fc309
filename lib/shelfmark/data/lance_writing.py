"""Writes pictures into a Lance dataset: `sources.lance_images` says of what form. Legend: P pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from shelfmark.core.errors import UserError
from shelfmark.core.heartbeat import beat
from shelfmark.core.parquet import pyarrow_for
from shelfmark.core.stopping import raise_if_stopped, received
from shelfmark.core.strings import Strings
from shelfmark.data.sources import FileSource, UnreadableImage
from shelfmark.data.sources.lance_images import ABOUT, FORMAT, IMAGE, PATH, REASON, about_dataset
from shelfmark.data.sources.lance_package import lance_for, lance_told

_FOR = "shelfmark to-lance"
_COMMITTED_AT_ONCE, _READ_AT_ONCE, _NUM_THREADS = 8192, 128, 16


def begun(uri: str) -> tuple[Mapping[str, Any] | None, int] | None:
    """What the dataset at `uri` says of itself (None: another program made it) and how many rows it has; None where
    there is no dataset."""
    try:
        dataset = lance_for(_FOR).dataset(uri)
    except (OSError, ValueError, RuntimeError) as error:
        if "not found" in str(error).lower():
            return None
        raise UserError(f"--out {uri} cannot be opened: {lance_told(error)}.") from None
    return about_dataset(dataset.schema), dataset.count_rows()


def write_pictures(
    uri: str,
    source: FileSource,
    keys: Strings,
    about: Mapping[str, Any],
    num_there: int,
    report: Callable[[int], None],
) -> None:
    """Adds the rows from `num_there` on, some thousands at a time, each time whole or not at all.

    keys: (P,) the paths that are written. about: of the dataset, JSON. report: called with the number of rows that
    are there. A signal ends the work with the rows that were read (Stopped). UserError: the dataset cannot be written.
    """
    lance, arrow = lance_for(_FOR), pyarrow_for(_FOR)
    fields = [(PATH, arrow.string()), (IMAGE, arrow.large_binary()), (REASON, arrow.string())]
    schema = arrow.schema(fields, metadata={ABOUT: json.dumps(dict(about)).encode()})
    for start in range(num_there, len(keys), _COMMITTED_AT_ONCE):
        stop = min(start + _COMMITTED_AT_ONCE, len(keys))
        batches = (
            arrow.record_batch([[keys[row] for row in rows], *zip(*read)], schema=schema)
            for rows, read in _read(source, range(start, stop), report)
        )
        reader = arrow.RecordBatchReader.from_batches(schema, batches)
        try:
            mode = "append" if start else "create"
            lance.write_dataset(reader, uri, mode=mode, data_storage_version=FORMAT)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"--out {uri} cannot be written: {lance_told(error)}. The images that were written before are kept;"
                " the same command goes on with the others."
            ) from None
        raise_if_stopped()


def remove_leftovers(uri: str) -> None:
    """Removes what killed writers left, and the states that the dataset had while it grew. Nobody else may write it."""
    lance_for(_FOR).dataset(uri).cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)


def _read(
    source: FileSource, rows: range, report: Callable[[int], None]
) -> Iterator[tuple[range, list[tuple[bytes | None, str | None]]]]:
    """The pictures of the rows, some at a time; fewer of them after a signal."""
    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        for at in range(0, len(rows), _READ_AT_ONCE):
            if at and received():
                return
            beat("writing images")
            some = rows[at : at + _READ_AT_ONCE]
            yield some, list(threads.map(lambda row: _bytes_of(source, row), some))
            report(some.stop)


def _bytes_of(source: FileSource, row: int) -> tuple[bytes | None, str | None]:
    try:
        return source.read(row), None
    except UnreadableImage as failure:
        return None, failure.reason
