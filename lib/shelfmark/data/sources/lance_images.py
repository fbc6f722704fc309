"""A Lance dataset of pictures: a row for each, with its path and the bytes of its file. Legend: P pictures.

path      text: the path as the annotations give it, relative to data.root where the picture lies there
image     the bytes of the file; none of a picture that could not be read
reason    why it could not be read; none of the others. The column may be missing
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.string_places import StringPlaces
from shelfmark.core.strings import Strings
from shelfmark.data.sources.lance_package import lance_for, lance_told

PATH, IMAGE, REASON = "path", "image", "reason"
FORMAT = "2.1"
"""The version of the file format that is written. Without a word from us, lance writes its newest."""
READ_FORMATS = ("2.0", "2.1")
ABOUT = b"shelfmark"
"""The key of the schema's metadata under which a dataset of ours says, in JSON, how it was made."""


class LanceImages:
    """A version of a dataset. It may be pickled, and is opened in each process that reads it, when it reads.

    Row numbers stay what they are in a version, whatever is added to the dataset later.
    """

    def __init__(self, uri: str, version: int) -> None:
        self.uri, self.version = uri, version
        self._opened: tuple[int, Any] | None = None

    def __reduce__(self) -> tuple[Any, tuple[str, int]]:
        return LanceImages, (self.uri, self.version)

    def __len__(self) -> int:
        return self._dataset.count_rows()

    @cached_property
    def places(self) -> StringPlaces:
        """Finds pictures by their paths."""
        return StringPlaces(self._paths)

    @cached_property
    def reasons(self) -> dict[int, str]:
        """The reason of each unreadable picture, by its row."""
        if REASON not in self._dataset.schema.names:
            return {}
        told = self._column(REASON).combine_chunks()
        rows = np.flatnonzero(told.is_valid().to_numpy(zero_copy_only=False))
        return {int(row): told[int(row)].as_py() for row in rows}

    @cached_property
    def digest(self) -> str:
        """Another text for other content: each file of a dataset has a name of its own, and is never written again."""
        fragments = self._dataset.get_fragments()
        names = [[file.path for file in one.data_files()] + [str(one.deletion_file())] for one in fragments]
        return hashlib.sha256(json.dumps(names).encode()).hexdigest()

    def take(self, rows: Sequence[int]) -> list[bytes | None]:
        """The bytes of the pictures at some rows, in one request."""
        return self._dataset.take(list(rows), columns=[IMAGE])[IMAGE].to_pylist()

    def path(self, row: int) -> str:
        return self._dataset.take([row], columns=[PATH])[PATH][0].as_py()

    @property
    def _paths(self) -> Strings:
        chunks = self._column(PATH).combine_chunks()
        chunks = chunks if not hasattr(chunks, "chunks") else chunks.chunk(0)
        chunks = chunks.cast("large_string")
        _, offsets, data = chunks.buffers()
        ends = np.frombuffer(offsets, np.int64, len(chunks) + 1, chunks.offset * 8)
        return Strings(np.frombuffer(data, np.uint8)[ends[0] : ends[-1]], ends - ends[0])

    def _column(self, name: str) -> Any:
        try:
            return self._dataset.to_table(columns=[name])[name]
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{self.uri}: the column {name!r} cannot be read: {lance_told(error)}. If the dataset's files are"
                " damaged or gone, remove it and write it again: shelfmark to-lance --config FILE --out DIR."
            ) from None

    @property
    def _dataset(self) -> Any:
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), lance_for("data.source=lance://").dataset(self.uri, version=self.version)
        return self._opened[1]


def open_images(uri: str) -> LanceImages:
    """The newest version of a dataset. uri: a folder, or what lance understands, as s3://bucket/pictures.lance; the
    storage's credentials come from the environment.

    UserError: there is none, its file format is another one, it lacks a column, or it was not written to the end.
    """
    lance = lance_for("data.source=lance://")
    try:
        dataset = lance.dataset(uri)
        version = int(dataset.version)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"data.source=lance://{uri} cannot be opened: {lance_told(error)}. `shelfmark to-lance"
            " --config FILE --out DIR` writes such a dataset."
        ) from None
    if dataset.data_storage_version not in READ_FORMATS:
        raise UserError(
            f"{uri} has Lance's file format {dataset.data_storage_version}; this Shelfmark reads"
            f" {' and '.join(READ_FORMATS)}. Write it again: `shelfmark to-lance`, or"
            f" lance.write_dataset(..., data_storage_version='{FORMAT}')."
        )
    _require_columns(uri, dataset.schema)
    about = about_dataset(dataset.schema)
    if about is not None and about["num_pictures"] != dataset.count_rows():
        raise UserError(
            f"{uri} is not written to the end: it has {dataset.count_rows():,} of {about['num_pictures']:,} images."
            f" The command that began it goes on: {about['command']}"
        )
    return _images(uri, version)


def about_dataset(schema: Any) -> dict[str, Any] | None:
    """How `shelfmark to-lance` made a dataset; None if another program made it."""
    told: Mapping[bytes, bytes] = schema.metadata or {}
    return json.loads(told[ABOUT]) if ABOUT in told else None


@lru_cache(maxsize=4)
def _images(uri: str, version: int) -> LanceImages:
    return LanceImages(uri, version)


def _require_columns(uri: str, schema: Any) -> None:
    for name, kinds in ((PATH, ("string", "large_string")), (IMAGE, ("binary", "large_binary"))):
        kind = str(schema.field(name).type) if name in schema.names else "missing"
        if kind not in kinds:
            raise UserError(
                f"{uri} has the columns {', '.join(schema.names)}; the column {name!r} is {kind}, and should be"
                f" {' or '.join(kinds)}. `shelfmark to-lance` writes datasets of images."
            )
