"""The source of pictures that `data.source` names."""

from __future__ import annotations

from pathlib import Path

from shelfmark.core.errors import UserError
from shelfmark.data.colour_profiles import ColourProfiles
from shelfmark.data.source_words import lance_uri, packed_folder
from shelfmark.data.sources.files import FileSource
from shelfmark.data.sources.lance_images import open_images
from shelfmark.data.sources.lance_source import ADVICE, LanceSource
from shelfmark.data.sources.packed import PackedSource
from shelfmark.data.sources.packed_copy import open_copy
from shelfmark.data.sources.source import ImageSource


def open_source(word: str, files: FileSource, home: Path, profiles: ColourProfiles) -> ImageSource:
    """The pictures of `files`, read from where `word` says: one that `source_words.require_source` let pass.

    home: data.root. profiles: data.color_profiles. Raises a UserError where a picture is not there, or a copy's pixels
    were made with other colours; no picture's own file is looked at.
    """
    folder, uri = packed_folder(word), lance_uri(word)
    if uri is not None:
        return LanceSource.of(files, open_images(uri), home)
    if folder is None:
        return files
    copy = open_copy(folder)
    made_with = copy.facts.get("color_profiles", "ignore")
    if made_with != profiles:
        raise UserError(
            f"data.source: the packed copy {folder} was made with data.color_profiles={made_with}, and the recipe has"
            f" {profiles}, so its colours are others. Set data.color_profiles={made_with}, or pack the images into"
            " another folder: shelfmark shrink."
        )
    return PackedSource.of(files, copy, home)


def advice_on_unreadable(word: str) -> str:
    """What to do about pictures that cannot be read there, as the beginning of a sentence."""
    folder = packed_folder(word)
    if folder is not None:
        return open_copy(folder).advice
    return ADVICE if lance_uri(word) is not None else "Repair them or take them out of the annotations"


def source_digest(word: str) -> str | None:
    """What the content of the source is known by; None where each picture has a file of its own."""
    folder, uri = packed_folder(word), lance_uri(word)
    if uri is not None:
        return open_images(uri).digest
    return None if folder is None else open_copy(folder).digest
