"""An index on disk: `index.faiss`, `rows.npz` and `manifest.json` in a folder. Legend: N vectors.

index.faiss    the structure, in faiss's own format
rows.npz       labels and serials (N,) int64; image ids and paths as UTF-8 bytes with (N + 1,) offsets
manifest.json  format_version kind metric dim num_vectors num_trained parameters names facts, and files: the sha256 of
               each of the other two
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json, sha256_file, write_json
from shelfmark.core.folders import atomic_folder, folder_to_read, left_by_version_1
from shelfmark.core.strings import Strings
from shelfmark.retrieval import index_faiss
from shelfmark.retrieval.index import Index, Records

FORMAT_VERSION = 1
STRUCTURE, ROWS, MANIFEST = "index.faiss", "rows.npz", "manifest.json"
_REMAKE = "Build it again with `shelfmark index build`."


def write_index(folder: Path, index: Index) -> None:
    """Writes the folder, whole or not at all; a former one stays until the new one is whole."""
    records = index.records
    with atomic_folder(folder) as part:
        index_faiss.write_structure(index.structure, part / STRUCTURE)
        np.savez(
            part / ROWS,
            labels=records.labels,
            serials=index.serials,
            id_data=records.ids.data,
            id_offsets=records.ids.offsets,
            path_data=records.paths.data,
            path_offsets=records.paths.offsets,
        )
        manifest = {
            "format_version": FORMAT_VERSION,
            "kind": index.kind,
            "metric": index.metric,
            "dim": index.dim,
            "num_vectors": len(index),
            "num_trained": index.num_trained,
            "parameters": index.parameters,
            "facts": index.facts,
            "files": {name: sha256_file(part / name) for name in (STRUCTURE, ROWS)},
            "names": {str(label): name for label, name in sorted(records.names.items())},
        }
        write_json(part / MANIFEST, manifest)


def read_index(folder: Path) -> Index:
    """The index in a folder; a UserError says what is missing, damaged or does not fit."""
    folder = folder_to_read(folder)
    manifest = read_manifest(folder)
    for name, sha256 in manifest["files"].items():
        if not (folder / name).is_file():
            raise UserError(f"{folder} is not a whole index: {name} is missing. {_REMAKE}")
        if sha256_file(folder / name) != sha256:
            raise UserError(f"{folder / name} does not match the SHA-256 in its manifest: it is damaged. {_REMAKE}")
    names = {int(label): name for label, name in manifest["names"].items()}
    records, serials = _read_rows(folder / ROWS, names)
    structure = index_faiss.read_structure(folder / STRUCTURE)
    if structure.d != manifest["dim"] or len(records) != manifest["num_vectors"]:
        raise UserError(
            f"{folder} does not fit together: {len(records)} rows of {structure.d} dimensions, but its manifest says"
            f" {manifest['num_vectors']} of {manifest['dim']}. {_REMAKE}"
        )
    return Index(
        structure,
        records,
        serials,
        kind=manifest["kind"],
        metric=manifest["metric"],
        parameters=manifest["parameters"],
        num_trained=manifest["num_trained"],
        facts=manifest["facts"],
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """What the index says of itself, without its vectors."""
    folder = folder_to_read(folder)
    if not (folder / MANIFEST).is_file():
        state = f"has no {MANIFEST}" if folder.is_dir() else "does not exist"
        raise UserError(
            f"{folder} is not an index: it {state}. Build one with `shelfmark index build --out {folder}`."
            f"{left_by_version_1(folder)}"
        )
    manifest = read_json(folder / MANIFEST)
    expected = {"kind", "metric", "dim", "num_vectors", "num_trained", "parameters", "facts", "files", "names"}
    if not isinstance(manifest, dict) or not expected <= manifest.keys():
        raise UserError(f"{folder} is not an index: its {MANIFEST} is of something else. {_REMAKE}")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{folder} has index format {manifest.get('format_version')!r}; this Shelfmark reads {FORMAT_VERSION}."
            f" {_REMAKE}"
        )
    return manifest


def _read_rows(file: Path, names: dict[int, str]) -> tuple[Records, np.ndarray]:
    try:
        with np.load(file) as arrays:
            ids = Strings(arrays["id_data"], arrays["id_offsets"])
            paths = Strings(arrays["path_data"], arrays["path_offsets"])
            return Records(ids, arrays["labels"], paths, names), arrays["serials"]
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} is damaged: {error}. {_REMAKE}") from None
