"""`shelfmark to-lance`: the images of a recipe in one Lance dataset, for machines that share no disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.artefact import differences, listed
from shelfmark.core.contracts import BadImage
from shelfmark.core.destinations import require_place
from shelfmark.core.door import command_line
from shelfmark.core.errors import UserError
from shelfmark.core.locks import folder_lock
from shelfmark.core.log import say, warn
from shelfmark.core.stopping import StopSignals
from shelfmark.core.strings import Strings
from shelfmark.core.wording import counted
from shelfmark.data.bad_images import first_told, reasons_told
from shelfmark.data.identity import keys_under
from shelfmark.data.image_bar import image_bar
from shelfmark.data.lance_writing import begun, remove_leftovers, write_pictures
from shelfmark.data.packing import file_stats
from shelfmark.data.source_words import FILES
from shelfmark.data.sources import FileSource
from shelfmark.data.sources.lance_images import open_images
from shelfmark.data.sources.lance_package import lance_for
from shelfmark.pipelines.doctor.read import read_listings
from shelfmark.pipelines.prepare import make_data
from shelfmark.recipe import Recipe

FORMAT_VERSION = 1
PHASE = "writing images"


@dataclass(frozen=True)
class Written:
    """uri: of the dataset. num_unreadable: images that have a reason in place of bytes. command: a training on it."""

    uri: str
    num_images: int
    num_unreadable: int
    command: str

    def as_json(self) -> dict[str, Any]:
        return {
            "dataset": self.uri,
            "num_images": self.num_images,
            "num_unreadable": self.num_unreadable,
            "command": self.command,
        }


def to_lance(recipe: Recipe, uri: str, begin: Sequence[str] = ()) -> Written:
    """Writes every picture that the recipe's annotations list, of train, val, retrieval and test, as its file is.

    uri: a folder, or an address as lance understands it. begin: words of the training that is proposed at the end.
    The same call goes on where it was stopped. UserError: `uri` holds other pictures, or pictures cannot be read and
    data.on_bad_image is `error`.
    """
    lance_for("shelfmark to-lance")
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"source": FILES})})
    if is_folder(uri):
        require_place(Path(uri), "--out", is_folder=True)
    make_data(recipe)
    listings = read_listings(recipe, check_files=True)
    keys = keys_under(recipe.data.root, listings.paths, Path("/"))
    source = FileSource(listings.paths, Path("/"), recipe.data.max_image_bytes)
    about = {
        "format_version": FORMAT_VERSION,
        "num_pictures": len(keys),
        "facts": _facts(keys, source, recipe),
        "command": command_line("to-lance", *begin, "--out", uri),
    }
    with StopSignals(), _lock(uri):
        num_there = _num_there(uri, about)
        if num_there < len(keys):
            with image_bar(PHASE, len(keys), num_there) as report:
                write_pictures(uri, source, keys, about, num_there, report)
            if is_folder(uri):
                remove_leftovers(uri)
    reasons = open_images(uri).reasons
    _tell_unreadable(reasons, source, recipe.data.on_bad_image)
    command = command_line("train", *begin, f"data.source=lance://{uri}")
    return Written(uri, len(keys) - len(reasons), len(reasons), command)


def is_folder(uri: str) -> bool:
    """Whether the address is a folder of this machine."""
    return "://" not in uri


def _facts(keys: Strings, source: FileSource, recipe: Recipe) -> dict[str, Any]:
    """What the content of the dataset follows from."""
    return {
        "num": len(keys),
        "paths_sha256": _hash(keys.data, keys.offsets),
        "sizes_and_times_sha256": _hash(file_stats(source)),
        "max_image_bytes": recipe.data.max_image_bytes,
    }


def _hash(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(one).tobytes() for one in arrays)).hexdigest()


def _lock(uri: str) -> AbstractContextManager[None]:
    return folder_lock(Path(uri), PHASE) if is_folder(uri) else nullcontext()


def _num_there(uri: str, about: dict[str, Any]) -> int:
    """How many of the pictures are written. UserError: those that are there are others."""
    if is_folder(uri) and Path(uri).is_dir() and not (Path(uri) / "_versions").is_dir() and any(Path(uri).iterdir()):
        # What a writer that was killed in its first rows has left is no dataset yet.
        if {one.name for one in Path(uri).iterdir()} - {"data", "_transactions"}:
            raise UserError(f"{uri} exists and is no Lance dataset, so nothing is written there. Give another --out.")
        return 0
    found = begun(uri)
    if found is None:
        return 0
    told, num_rows = found
    if told is None:
        raise UserError(f"{uri} is a Lance dataset that another program wrote; nothing is added. Give another --out.")
    differs = differences(told["facts"], about["facts"])
    if differs:
        raise UserError(
            f"{uri} has a dataset that does not fit: {listed(differs)}. A dataset is never replaced: give another"
            " --out, or remove it."
        )
    if num_rows:
        say(f"{uri}: {counted(num_rows, 'image')} of {about['num_pictures']:,} are there already")
    return num_rows


def _tell_unreadable(reasons: dict[int, str], source: FileSource, on_bad_image: str) -> None:
    if not reasons:
        return
    bad = [BadImage(row, source.paths[row], reason) for row, reason in reasons.items()]
    told = f"{len(bad):,} of {counted(len(source), 'image')} could not be read. {reasons_told(bad)}.{first_told(bad)}"
    if on_bad_image == "error":
        raise UserError(
            f"{told}\nThe dataset has a reason in place of each. Repair these images, or take them out of the"
            " annotations, and write another dataset; or set data.on_bad_image=skip, here and in the training."
        )
    warn(f"{told}\nA training on the dataset treats them as unreadable.")
