"""An index on disk: `index.faiss`, `rows.npz` and `manifest.json` in a folder. Legend: N vectors.

index.faiss    the store, in faiss's own format
rows.npz       labels, and serials, which are the store's ids, (N,) int64; image ids and paths as UTF-8 bytes with
               (N + 1,) offsets
thresholds.json  of `shelfmark thresholds`, if that was asked
manifest.json  format_version kind metric dim num_vectors num_trained parameters names facts, files (sizes and hashes of
               the other two), digest (of the rest of the manifest)

Format 1, of version 0.1.0, has no digest, and of each file the sha256 alone.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core import manifests
from shelfmark.core.arrays import read_npz, whole_numbers, write_npz
from shelfmark.core.errors import UserError
from shelfmark.core.files import sha256_file
from shelfmark.core.folders import atomic_folder, left_by_version_1, read_folder
from shelfmark.core.manifests import (
    BEFORE_DIGESTS,
    COUNT,
    COUNTS,
    MAPPING,
    TEXT,
    TEXTS,
    Kind,
    check_file,
    file_facts,
    require_kinds,
    write_manifest,
)
from shelfmark.core.strings import Strings
from shelfmark.retrieval.index import Index, Records
from shelfmark.retrieval.index_kinds import KINDS
from shelfmark.retrieval.stores import Layout, read_store

FORMAT_VERSION = 2
STRUCTURE, ROWS, MANIFEST = "index.faiss", "rows.npz", "manifest.json"
THRESHOLDS = "thresholds.json"
"""What `shelfmark thresholds` learned with the index. The manifest does not know it; it names the index by its hash."""
_REMAKE = "Build it again with `shelfmark index build`."
_KINDS_OF_1 = {
    "kind": Kind(f"one of {', '.join(KINDS)}", lambda value: value in KINDS),
    "metric": TEXT,
    "dim": COUNT,
    "num_vectors": COUNT,
    "num_trained": COUNT,
    "parameters": COUNTS,
    "facts": MAPPING,
    "files": TEXTS,
    "names": Kind(
        "a mapping of labels to texts",
        lambda value: TEXTS.fits(value) and all(label.isascii() and label.isdecimal() for label in value),
    ),
}
_FACTS_OF_1 = {"checkpoint": TEXT, "checkpoint_sha256": TEXT, "input": MAPPING}


def write_index(folder: Path, index: Index) -> None:
    """Writes the folder, whole or not at all; a former one stays until the new one is whole."""
    records = index.records
    # The size of the other kinds depends on faiss, and is not known before.
    layout = index.layout
    size_bytes = len(index) * index.dim * 4 if layout.kind == "flat" else None
    with atomic_folder(folder, size_bytes=size_bytes) as part:
        index.store.write(part / STRUCTURE)
        arrays = {
            "labels": records.labels,
            "serials": index.store.ids,
            "id_data": records.ids.data,
            "id_offsets": records.ids.offsets,
            "path_data": records.paths.data,
            "path_offsets": records.paths.offsets,
        }
        write_npz(part / ROWS, arrays)
        manifest = {
            "format_version": FORMAT_VERSION,
            "kind": layout.kind,
            "metric": layout.metric,
            "dim": index.dim,
            "num_vectors": len(index),
            "num_trained": layout.num_trained,
            "parameters": layout.parameters,
            "facts": index.facts,
            "files": {name: file_facts(part / name, in_blocks=name == STRUCTURE) for name in (STRUCTURE, ROWS)},
            "names": {str(label): name for label, name in sorted(records.names.items())},
        }
        write_manifest(part / MANIFEST, manifest)
        # It fits the former index alone, and its hash says so. Without it nobody would hear that it was there.
        if (folder / THRESHOLDS).is_file():
            shutil.copyfile(folder / THRESHOLDS, part / THRESHOLDS)


def index_hash(folder: Path) -> str:
    """The hash of an index: of its manifest, which has the hash of every other file."""
    return read_folder(folder, lambda place: sha256_file(place / MANIFEST))


def read_index(folder: Path) -> Index:
    """The index in a folder, every byte checked. A UserError says which file is missing, damaged or does not fit."""
    return read_folder(folder, _read)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of the index; its vectors are not read."""
    return read_folder(folder, _read_manifest)


def _read(folder: Path) -> Index:
    manifest = _read_manifest(folder)
    for name in (STRUCTURE, ROWS):
        _check_file(folder / name, manifest)
    names = {int(label): name for label, name in manifest["names"].items()}
    records, serials = _read_rows(folder / ROWS, names)
    layout = Layout(manifest["kind"], manifest["metric"], manifest["parameters"], manifest["num_trained"])
    store = read_store(folder / STRUCTURE, layout, serials)
    if store.dim != manifest["dim"] or len(records) != manifest["num_vectors"]:
        raise UserError(
            f"{folder} does not fit together: {len(records)} rows of {store.dim} dimensions, but its manifest says"
            f" {manifest['num_vectors']} of {manifest['dim']}. {_REMAKE}"
        )
    return Index(store, records, manifest["facts"])


def _read_manifest(folder: Path) -> dict[str, Any]:
    if not (folder / MANIFEST).is_file():
        state = f"has no {MANIFEST}" if folder.is_dir() else "does not exist"
        raise UserError(
            f"{folder} is not an index: it {state}. Build one with `shelfmark index build --out {folder}`."
            f"{left_by_version_1(folder)}"
        )
    try:
        manifest = manifests.read_manifest(folder / MANIFEST)
    except UserError as error:
        raise UserError(f"{error} {_REMAKE}") from None
    expected = {"kind", "metric", "dim", "num_vectors", "num_trained", "parameters", "facts", "files", "names"}
    if not expected <= manifest.keys():
        raise UserError(f"{folder} is not an index: its {MANIFEST} is of something else. {_REMAKE}")
    if manifest.get("format_version") not in (BEFORE_DIGESTS, FORMAT_VERSION):
        raise UserError(
            f"{folder} has index format {manifest.get('format_version')!r}; this Shelfmark reads {BEFORE_DIGESTS} and"
            f" {FORMAT_VERSION}. {_REMAKE}"
        )
    if manifest["format_version"] == BEFORE_DIGESTS:
        _require_kinds(manifest, folder / MANIFEST)
    return manifest


def _require_kinds(manifest: dict[str, Any], file: Path) -> None:
    try:
        require_kinds(manifest, _KINDS_OF_1, file)
        known = manifest["facts"]
        # An index may be built of vectors alone, whose model nobody noted.
        require_kinds(known, _FACTS_OF_1 if known else {}, file)
    except UserError as error:
        raise UserError(f"{error} {_REMAKE}") from None


def _check_file(file: Path, manifest: dict[str, Any]) -> None:
    facts = manifest["files"].get(file.name)
    if manifest["format_version"] == BEFORE_DIGESTS and file.is_file():
        facts = {"size_bytes": file.stat().st_size, "sha256": facts}
    try:
        check_file(file, facts)
    except UserError as error:
        raise UserError(f"{error} {_REMAKE}") from None


def _read_rows(file: Path, names: dict[int, str]) -> tuple[Records, np.ndarray]:
    stored = ("labels", "serials", "id_data", "id_offsets", "path_data", "path_offsets")
    arrays = read_npz(file, stored, _REMAKE)
    try:
        ids = Strings.stored(arrays["id_data"], arrays["id_offsets"])
        paths = Strings.stored(arrays["path_data"], arrays["path_offsets"])
        labels, serials = whole_numbers(arrays["labels"], -1), whole_numbers(arrays["serials"], 0)
    except ValueError as error:
        raise UserError(f"{file} is damaged: {error}. {_REMAKE}") from None
    if not len(ids) == len(paths) == len(labels) == len(serials) or (np.diff(serials) <= 0).any():
        raise UserError(f"{file} is damaged: its rows do not fit together. {_REMAKE}")
    return Records(ids, labels, paths, names), serials
