"""The folder of an exported model. Legend: N pictures, C classes.

model.onnx      or model.pt2; uint8 pixels (N, H, W, 3) in, embedding, logits and heads out
model.json      input, outputs, class names, groups, thresholds, hashes
parity.json     the proof: what was measured on which pictures, and what was allowed
predict.py      answers with numpy, pillow and onnxruntime alone
reference/      pictures, as they were, and outputs.npz: what the checkpoint made of them
manifest.json   format_version, kind, and size and hash of each other file
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json, write_json
from shelfmark.core.folders import EXPORTED, MANIFEST, read_folder
from shelfmark.core.manifests import check_file, file_facts, read_manifest, write_manifest
from shelfmark.data.sources import ImageSource
from shelfmark.export import predict
from shelfmark.export.predict import MODEL, OUTPUTS, PARITY, REFERENCE
from shelfmark.export.proof import Expected

FORMAT_VERSION = 2
FILES = {"onnx": "model.onnx", "torch": "model.pt2"}
_SUFFIXES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"RIFF": ".webp", b"GIF8": ".gif", b"BM": ".bmp"}


def write_model_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Writes model.json, and predict.py beside it."""
    write_json(folder / MODEL, facts)
    shutil.copyfile(predict.__file__, folder / "predict.py")


def write_reference(folder: Path, source: ImageSource, expected: Expected, number: int) -> int:
    """Writes `number` of the pictures, spread over all, and their outputs; returns the bytes that they take."""
    place = folder / REFERENCE
    place.mkdir()
    chosen = np.unique(np.linspace(0, len(expected) - 1, min(number, len(expected))).astype(np.int64))
    names: list[str] = []
    for row in expected.rows[chosen]:
        data = source.read(int(row))
        names.append(f"{len(names):04}{_suffix(data)}")
        (place / names[-1]).write_bytes(data)
    outputs: dict[str, Any] = {
        **expected.take(chosen),
        "labels": expected.labels[chosen],
        "files": np.array(names, dtype=np.str_),
        "pixels": np.array([expected.digests[one] for one in chosen], dtype=np.str_),
    }
    np.savez(place / OUTPUTS, **outputs)
    return sum(file.stat().st_size for file in place.iterdir())


def write_proof(folder: Path, parity: Mapping[str, Any]) -> None:
    """Writes parity.json, and the manifest of all files."""
    write_json(folder / PARITY, parity)
    files = {str(file.relative_to(folder)): file_facts(file) for file in sorted(folder.rglob("*")) if file.is_file()}
    write_manifest(folder / MANIFEST, {"format_version": FORMAT_VERSION, "kind": EXPORTED, "files": files})


def require_whole(folder: Path) -> dict[str, Any]:
    """The content of parity.json. Reads each file; a UserError says which is missing or is not as it was written.

    reference/ may be left out, as a whole: it has copies of the owner's pictures.
    """
    return read_folder(folder, _whole)


def _whole(folder: Path) -> dict[str, Any]:
    if not (folder / MANIFEST).is_file() or not (folder / MODEL).is_file():
        raise UserError(f"{folder} is not an exported model. `shelfmark export --out {folder}` writes one.")
    manifest = read_manifest(folder / MANIFEST)
    if manifest.get("kind") != EXPORTED:
        raise UserError(f"{folder} is not an exported model; its manifest says {manifest.get('kind')!r}.")
    has_reference = (folder / REFERENCE).is_dir()
    for name, facts in manifest["files"].items():
        if has_reference or not name.startswith(f"{REFERENCE}/"):
            check_file(folder / name, facts)
    parity: dict[str, Any] = read_json(folder / PARITY)
    return parity


def _suffix(data: bytes) -> str:
    return next((suffix for beginning, suffix in _SUFFIXES.items() if data.startswith(beginning)), ".img")
