"""`shelfmark shrink`: a packed copy of a data set's pictures, made smaller. Legend: N pictures of the copy."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL

from shelfmark import __version__
from shelfmark.core.artefact import differences, flat, listed
from shelfmark.core.contracts import BadImage
from shelfmark.core.cores import num_cores
from shelfmark.core.destinations import require_place
from shelfmark.core.disk import make_folders
from shelfmark.core.door import command_line
from shelfmark.core.errors import UserError
from shelfmark.core.files import sha256_json
from shelfmark.core.locks import folder_lock
from shelfmark.core.log import say, warn
from shelfmark.core.manifests import file_facts, write_manifest
from shelfmark.core.stopping import StopSignals
from shelfmark.core.strings import Strings
from shelfmark.core.wording import counted
from shelfmark.data.annotations import read_annotations
from shelfmark.data.bad_images import allowed, first_told, reasons_told
from shelfmark.data.identity import keys_under
from shelfmark.data.image_bar import image_bar
from shelfmark.data.image_scan import UNREADABLE_LIST, write_unreadable
from shelfmark.data.options import DataOptions
from shelfmark.data.packing import (
    Shrinking,
    file_stats,
    known_blocks,
    pack_blocks,
    remove_blocks,
    write_paths,
)
from shelfmark.data.source_words import FILES
from shelfmark.data.sources import FileSource
from shelfmark.data.sources.packed_copy import (
    FORMAT_VERSION,
    KIND,
    MANIFEST,
    PATHS,
    PackedCopy,
    open_copy,
    packed_manifest,
    read_block,
    reasons_of,
)
from shelfmark.doctor.listings import TRAIN, Listings
from shelfmark.pipelines.doctor.read import read_listings
from shelfmark.pipelines.prepare import make_data
from shelfmark.recipe import Recipe

SIZES_PX = range(16, 8193)
QUALITIES = range(1, 101)
PHASE = "packing images"
_FEW_IMAGES = 64


@dataclass(frozen=True)
class Packed:
    """What a copy holds. bytes_before: of the originals that could be read. command: the training that reads it."""

    folder: Path
    num_images: int
    num_unreadable: int
    bytes_before: int
    bytes_after: int
    command: str

    @property
    def share(self) -> float:
        return self.bytes_after / max(1, self.bytes_before)

    def as_json(self) -> dict[str, Any]:
        return {
            "folder": self.folder,
            "num_images": self.num_images,
            "num_unreadable": self.num_unreadable,
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "share": self.share,
            "command": self.command,
        }


def shrink(recipe: Recipe, size_px: int, quality: int, out: Path | None = None, begin: Sequence[str] = ()) -> Packed:
    """Packs every picture that the recipe's annotations list, those of train, val, retrieval and test, or
    those of a discovery.

    out: default `<data.root>_<size_px>`. begin: words of the training that is proposed at the end. The same call goes
    on where it was stopped; of a whole copy it compares every byte, and packs again what is damaged or was changed.
    Stopped keeps the blocks that are whole. Raises a UserError where the folder has a copy of other pictures or sizes,
    and where pictures cannot be read, as data.on_bad_image says.
    """
    _require_settings(size_px, quality)
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"source": FILES})})
    root = recipe.data.root
    folder = require_place(out or root.with_name(f"{Path(os.path.abspath(root)).name}_{size_px}"), "--out", True)
    make_data(recipe)
    listings = _read_listings(recipe)
    keys = keys_under(root, listings.paths, Path("/"))
    boxes_px = _smallest_boxes(listings, recipe.data.box_margin)
    facts = _facts(recipe, keys, boxes_px, size_px, quality)
    again = command_line("shrink", *begin, "--size", size_px, "--quality", quality, "--out", folder)
    source = FileSource(listings.paths, Path("/"), recipe.data.max_image_bytes)
    shrinking = Shrinking(source, size_px, quality, recipe.data.max_image_pixels, boxes_px, recipe.data.color_profiles)
    with StopSignals(), folder_lock(folder, PHASE):
        _require_own(folder, facts)
        make_folders(folder)
        told = {"format_version": FORMAT_VERSION, "kind": KIND, "facts": facts, "command": again}
        copy, stats = _packed(folder, shrinking, keys, told, recipe)
    is_read = np.ones(len(keys), bool)
    is_read[list(copy.reasons)] = False
    before, after = int(stats[is_read, 0].sum()), int(copy.records["length"].sum())
    train = command_line("train", *begin, f"data.source=packed:{folder}")
    return Packed(folder, int(is_read.sum()), len(copy.reasons), before, after, train)


def _packed(
    folder: Path, shrinking: Shrinking, keys: Strings, told: dict[str, Any], recipe: Recipe
) -> tuple[PackedCopy, np.ndarray]:
    """The copy, and the `file_stats` of its pictures."""
    source, data = shrinking.source, recipe.data
    stats = file_stats(source)
    known = known_blocks(folder, stats)
    num_known = sum(len(block.rows) for block in known if block.is_sound)
    if num_known:
        say(f"{folder}: {counted(num_known, 'image')} of {len(keys):,} are packed already; every byte was compared")
    if num_known < len(keys):
        write_manifest(folder / MANIFEST, {**told, "is_whole": False})
    workers = 0 if not data.num_workers or len(keys) <= _FEW_IMAGES else max(data.num_workers, num_cores())
    with image_bar(PHASE, len(keys)) as report:
        num_blocks = pack_blocks(folder, shrinking, stats, known, workers, report)
    remove_blocks(folder, num_blocks)
    write_paths(folder, keys)
    blocks = [read_block(folder, number) for number in range(num_blocks)]
    whole = {
        **told,
        "num_pictures": len(keys),
        "num_blocks": num_blocks,
        "files": {PATHS: file_facts(folder / PATHS)},
        "content": sha256_json([*(block for block, _ in blocks), file_facts(folder / PATHS)]),
        "made_with": {"shelfmark": __version__, "opencv": cv2.__version__, "pillow": PIL.__version__},
    }
    _settle_unreadable(reasons_of(blocks), source, data, folder)
    write_manifest(folder / MANIFEST, {**whole, "is_whole": True})
    return open_copy(folder), stats


def _read_listings(recipe: Recipe) -> Listings:
    data, file = recipe.data, recipe.discovery.annotations
    if data.train_json is None and file is not None:
        return Listings.of({TRAIN: read_annotations(file, data.root, data.extra_roots)}, frozenset((TRAIN,)))
    return read_listings(recipe, check_files=True)


def _require_settings(size_px: int, quality: int) -> None:
    for option, value, fitting in (("--size", size_px, SIZES_PX), ("--quality", quality, QUALITIES)):
        if value not in fitting:
            raise UserError(f"{option} {value}: give a whole number from {fitting.start} to {fitting.stop - 1}.")


def _facts(recipe: Recipe, keys: Strings, boxes_px: np.ndarray | None, size_px: int, quality: int) -> dict[str, Any]:
    """What the content of a copy follows from, but for the pictures' files."""
    data = recipe.data
    pictures = {
        "root": os.path.abspath(data.root),
        "num": len(keys),
        "paths_sha256": _hash(keys.data, keys.offsets),
        **({} if boxes_px is None else {"boxes_sha256": _hash(boxes_px)}),
    }
    reading = {name: getattr(data, name) for name in ("max_image_bytes", "max_image_pixels", "color_profiles")}
    return flat({"size_px": size_px, "quality": quality, "pictures": pictures, **reading})


def _hash(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(one).tobytes() for one in arrays)).hexdigest()


def _smallest_boxes(listings: Listings, margin: float) -> np.ndarray | None:
    """(N,) float64: the shorter side, with its margins, of the smallest box that any file lists of a picture; infinite
    for a picture without boxes. None where there are none at all."""
    if all(table.boxes is None for table in listings.tables.values()):
        return None
    found = np.full(len(listings.paths), np.inf)
    for place, table in enumerate(listings.tables.values()):
        if table.boxes is not None:
            sides = table.boxes[:, 2:].astype(np.float64).min(axis=1) * (1 + 2 * margin)
            np.minimum.at(found, listings.picture[listings.split == place], np.where(np.isnan(sides), np.inf, sides))
    return found


def _require_own(folder: Path, facts: dict[str, Any]) -> None:
    """Raises a UserError where the folder holds something else than this copy, or a part of it."""
    if not folder.is_dir() or next(os.scandir(folder), None) is None:
        return
    if not (folder / MANIFEST).is_file():
        raise UserError(f"{folder} exists and is not a packed copy, so nothing is written there. Give another --out.")
    found = differences(packed_manifest(folder)["facts"], facts, {"color_profiles": "ignore"})
    if found:
        raise UserError(
            f"{folder} has a packed copy that does not fit: {listed(found)}. A copy is never replaced: give another"
            " --out, or remove it."
        )


def _settle_unreadable(reasons: dict[int, str], source: FileSource, data: DataOptions, folder: Path) -> None:
    """Lists the pictures that could not be read; then raises or warns, as data.on_bad_image says."""
    file = folder / UNREADABLE_LIST
    file.unlink(missing_ok=True)
    if not reasons:
        return
    bad = [BadImage(row, source.paths[row], reason) for row, reason in reasons.items()]
    what = f"{len(bad):,} of {counted(len(source), 'image')} could not be read"
    told = f"{reasons_told(bad)}.{first_told(bad)}\n{write_unreadable(bad, file)}"
    kept = "What is packed is kept."
    if data.on_bad_image == "error":
        raise UserError(
            f"{what}, so the copy is not whole. {told} Repair them or take them out of the annotations; or set"
            f" data.on_bad_image=skip, which leaves them out. {kept}"
        )
    if len(bad) == len(source) or len(bad) > allowed(len(source), data.max_bad_images):
        raise UserError(
            f"{what}, more than data.max_bad_images={data.max_bad_images:g} allows, so the copy is not whole. {told}"
            f" Repair them or take them out of the annotations, or allow more. {kept}"
        )
    warn(f"{what}; a training on the copy treats them as unreadable. {told}")
