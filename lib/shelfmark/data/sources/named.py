"""The source of pictures that `data.source` names."""

from __future__ import annotations

from pathlib import Path

from shelfmark.data.source_words import lance_uri, packed_folder
from shelfmark.data.sources.files import FileSource
from shelfmark.data.sources.lance_images import open_images
from shelfmark.data.sources.lance_source import LanceSource
from shelfmark.data.sources.packed import PackedSource
from shelfmark.data.sources.packed_copy import open_copy
from shelfmark.data.sources.source import ImageSource


def open_source(word: str, files: FileSource, home: Path) -> ImageSource:
    """The pictures of `files`, read from where `word` says: one that `source_words.require_source` let pass.

    home: data.root. Raises a UserError where a picture is not there; no picture's own file is looked at.
    """
    folder, uri = packed_folder(word), lance_uri(word)
    if uri is not None:
        return LanceSource.of(files, open_images(uri), home)
    return files if folder is None else PackedSource.of(files, open_copy(folder), home)


def source_digest(word: str) -> str | None:
    """What the content of the source is known by; None where each picture has a file of its own."""
    folder, uri = packed_folder(word), lance_uri(word)
    if uri is not None:
        return open_images(uri).digest
    return None if folder is None else open_copy(folder).digest
