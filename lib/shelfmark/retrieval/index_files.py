"""An index on disk: `index.faiss`, `rows.npz` and `manifest.json` in a folder. Legend: N vectors.

index.faiss    the store, in faiss's own format; or, where the vectors are in a Milvus, store.json, which says in which
rows.npz       labels, and serials, which are the store's ids, (N,) int64; image ids and paths as UTF-8 bytes with
               (N + 1,) offsets; column_0, column_1, ...: those that the manifest names, as (N,) int64 or as bytes with
               offsets; boxes (N, 4) float32, where some vector is of a part of its picture
thresholds.json  of `shelfmark thresholds`, if that was asked
manifest.json  format_version kind metric dim num_vectors num_trained parameters names facts, files (sizes and hashes of
               the other two), digest (of the rest of the manifest); groups (of classes), columns (their names),
               num_built (of the rows, how many came with the build), num_removed (vectors in index.faiss that were
               removed), recall (of the build, or null)

Format 1, of version 0.1.0, has no digest, and of each file the sha256 alone. The names from groups on may be missing.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core import manifests
from shelfmark.core.arrays import read_npz, stored_boxes, whole_numbers, write_npz
from shelfmark.core.columns import NO_NUMBER, Column
from shelfmark.core.errors import UserError
from shelfmark.core.files import sha256_file
from shelfmark.core.folders import INDEX, atomic_folder, left_by_version_1, read_folder
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
from shelfmark.retrieval.effort import Promise
from shelfmark.retrieval.index import Index, Records
from shelfmark.retrieval.index_kinds import KINDS
from shelfmark.retrieval.recall import PLACES, Recall
from shelfmark.retrieval.stores import FAISS_FILE, MILVUS_FILE, Layout, Place, read_store

FORMAT_VERSION = 2
ROWS, MANIFEST = "rows.npz", "manifest.json"
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
# Not in every manifest, and believed of no manifest without a digest.
_NEWER: dict[str, Any] = {"groups": {}, "columns": []}
_FACTS_OF_1 = {"checkpoint": TEXT, "checkpoint_sha256": TEXT, "input": MAPPING}


def write_index(folder: Path, index: Index) -> None:
    """Writes the folder, whole or not at all; a former one stays until the new one is whole."""
    records = index.records
    # The size of the other kinds depends on faiss, and is not known before.
    layout = index.layout
    structure = index.store.file_name
    size_bytes = len(index) * index.dim * 4 if layout.kind == "flat" and structure == FAISS_FILE else None
    with atomic_folder(folder, kind=INDEX, size_bytes=size_bytes) as part:
        index.store.write(part / structure)
        arrays = {
            "labels": records.labels,
            "serials": index.store.ids,
            "id_data": records.ids.data,
            "id_offsets": records.ids.offsets,
            "path_data": records.paths.data,
            "path_offsets": records.paths.offsets,
            **_column_arrays(records.columns),
            **({} if records.boxes is None else {"boxes": records.boxes}),
        }
        write_npz(part / ROWS, arrays)
        manifest = {
            "format_version": FORMAT_VERSION,
            "kind": layout.kind,
            "metric": layout.metric,
            "dim": index.dim,
            "num_vectors": len(index),
            "num_trained": layout.num_trained,
            "num_built": index.num_built,
            "num_removed": index.store.num_dead if index.num_removed is None else index.num_removed,
            "parameters": layout.parameters,
            "recall": recall_facts(index.promise),
            "facts": index.facts,
            "files": {name: file_facts(part / name, in_blocks=name == FAISS_FILE) for name in (structure, ROWS)},
            "names": {str(label): name for label, name in sorted(records.names.items())},
            "groups": {str(label): name for label, name in sorted(records.groups.items())},
            "columns": list(records.columns),
        }
        write_manifest(part / MANIFEST, manifest)
        # It fits the former index alone, and its hash says so. Without it nobody would hear that it was there.
        if (folder / THRESHOLDS).is_file():
            shutil.copyfile(folder / THRESHOLDS, part / THRESHOLDS)
    index.store.settle()


def index_hash(folder: Path) -> str:
    """The hash of an index: of its manifest, which has the hash of every other file."""
    return read_folder(folder, lambda place: sha256_file(place / MANIFEST))


def recall_facts(promise: Promise | None) -> dict[str, Any] | None:
    """The recall of an index as its manifest and `index info` tell it."""
    if promise is None:
        return None
    measured = promise.measured
    values = {"measured": measured.value, "error": measured.error, "num_queries": measured.num_queries}
    return {"k": PLACES, "promised": promise.promised, **values}


def read_index(folder: Path, place: Place | None = None) -> Index:
    """The index in a folder, every byte checked. A UserError says which file is missing, damaged or does not fit.

    place: where the database with its vectors is now, if it was moved.
    """
    return read_folder(folder, lambda at: _read(at, place))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of the index; its vectors are not read."""
    return read_folder(folder, _read_manifest)


def _read(folder: Path, place: Place | None) -> Index:
    manifest = _read_manifest(folder)
    structure = MILVUS_FILE if MILVUS_FILE in manifest["files"] else FAISS_FILE
    for name in (structure, ROWS):
        _check_file(folder / name, manifest)
    records, serials = _read_rows(folder / ROWS, manifest)
    layout = Layout(manifest["kind"], manifest["metric"], manifest["parameters"], manifest["num_trained"])
    store = read_store(folder / structure, layout, serials, place)
    if store.dim != manifest["dim"] or len(records) != manifest["num_vectors"]:
        raise UserError(
            f"{folder} does not fit together: {len(records)} rows of {store.dim} dimensions, but its manifest says"
            f" {manifest['num_vectors']} of {manifest['dim']}. {_REMAKE}"
        )
    return Index(store, records, manifest["facts"], *_told_of_build(manifest, serials))


def _told_of_build(manifest: dict[str, Any], serials: np.ndarray) -> tuple[int, Promise | None, int | None]:
    if "num_built" not in manifest:
        # Ids rise as vectors are added. In flat a removal numbers them anew, so there it is the most that it can be.
        return int(np.searchsorted(serials, manifest["num_trained"])), None, None
    told, promise = manifest["recall"], None
    if told is not None:
        promise = Promise(told["promised"], Recall(told["measured"], told["error"], told["num_queries"]))
    return manifest["num_built"], promise, manifest["num_removed"]


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
        return {**manifest, **_NEWER}
    return {**_NEWER, **manifest}


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


def _read_rows(file: Path, manifest: dict[str, Any]) -> tuple[Records, np.ndarray]:
    arrays = read_npz(file, remake=_REMAKE)
    try:
        ids = Strings.stored(arrays["id_data"], arrays["id_offsets"])
        paths = Strings.stored(arrays["path_data"], arrays["path_offsets"])
        labels, serials = whole_numbers(arrays["labels"], -1), whole_numbers(arrays["serials"], 0)
        boxes = stored_boxes(arrays)
        columns = {name: _column(arrays, f"column_{n}") for n, name in enumerate(manifest["columns"])}
    except (KeyError, ValueError) as error:
        raise UserError(f"{file} is damaged: {error}. {_REMAKE}") from None
    parts = (ids, paths, labels, serials, *columns.values(), *([] if boxes is None else [boxes]))
    lengths = set(map(len, parts))
    if len(lengths) > 1 or (np.diff(serials) <= 0).any():
        raise UserError(f"{file} is damaged: its rows do not fit together. {_REMAKE}")
    names, groups = ({int(label): name for label, name in manifest[key].items()} for key in ("names", "groups"))
    return Records(ids, labels, paths, names, groups, columns, boxes), serials


def _column_arrays(columns: Mapping[str, Column]) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for number, column in enumerate(columns.values()):
        if isinstance(column, Strings):
            arrays |= {f"column_{number}_data": column.data, f"column_{number}_offsets": column.offsets}
        else:
            arrays[f"column_{number}"] = column
    return arrays


def _column(arrays: Mapping[str, np.ndarray], key: str) -> Column:
    if key in arrays:
        return whole_numbers(arrays[key], NO_NUMBER)
    return Strings.stored(arrays[f"{key}_data"], arrays[f"{key}_offsets"])
