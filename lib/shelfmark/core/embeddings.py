"""Embeddings on disk: `features.npy`, `rows.npz` and `manifest.json` in a folder. Legend: N rows, D embedding.

features.npy   (N, D) float32, un-normalised; read as a memory map
rows.npz       labels and rows (N,) int64, and image ids and paths as UTF-8 bytes with (N + 1,) offsets:
               id_data id_offsets path_data path_offsets; rows are those of the annotation table; boxes (N, 4)
               float32 where there are some: x y width height, NaN for a whole picture
manifest.json  format_version, num_rows, dim, files (sizes and hashes of the other two), digest (of the rest of the
               manifest), and facts about how the features were made

Every byte is checked when a folder is opened. Format 1, of version 0.1.0, has neither files nor digest.
"""

from __future__ import annotations

import io
import mmap as mapping
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from shelfmark.core import folders
from shelfmark.core.arrays import DAMAGED, read_npz, stored_boxes, whole_numbers, write_npz
from shelfmark.core.contracts import Embeddings
from shelfmark.core.disk import allocate
from shelfmark.core.errors import UserError
from shelfmark.core.folders import atomic_folder, left_by_version_1, read_folder
from shelfmark.core.log import warn
from shelfmark.core.manifests import BEFORE_DIGESTS, check_file, file_facts, read_manifest, write_manifest
from shelfmark.core.strings import Strings
from shelfmark.core.write_errors import write_errors_told

FORMAT_VERSION = 2
FEATURES, ROWS, MANIFEST = "features.npy", "rows.npz", "manifest.json"
_BLOCK_ROWS = 8192
_REMAKE = "Make the folder again with `shelfmark embed`."


def write_embeddings(folder: Path, embeddings: Embeddings) -> None:
    """Writes the folder, whole or not at all; features are cast to float32 block by block."""
    num_rows, dim = embeddings.features.shape
    with atomic_folder(folder, kind=folders.FEATURES, size_bytes=num_rows * dim * 4) as part:
        writer = EmbeddingsWriter(part, num_rows, dim)
        for start in range(0, num_rows, _BLOCK_ROWS):
            block = embeddings.features[start : start + _BLOCK_ROWS]
            writer.write(np.arange(start, start + len(block)), block)
        writer.finish(
            embeddings.labels,
            embeddings.image_ids,
            embeddings.paths,
            embeddings.manifest,
            embeddings.rows,
            embeddings.boxes,
        )


def read_embeddings(folder: Path, mmap: bool = True) -> Embeddings:
    """The embeddings in a folder; a UserError says what is missing or does not fit.

    mmap: leave the features on disk and read only the pages that are used. Writing to the array changes no file.
    """
    return read_folder(folder, lambda found: _read(found, mmap))


def release_pages(features: np.ndarray) -> None:
    """Gives back the memory that read pages of a memory map take; they are read again where they are used again."""
    mapped = getattr(features, "_mmap", None)
    if mapped is not None and hasattr(mapping, "MADV_DONTNEED"):
        mapped.madvise(mapping.MADV_DONTNEED)


class EmbeddingsWriter:
    """Fills a folder of embeddings by row numbers, in any order, with one batch in memory at a time.

    Several processes fill one folder: the first makes the writer, the others open the same folder with
    `create=False`, each writes its own rows, and after a barrier the first calls `finish`. The folder is
    a working folder (`atomic_folder`), so that readers see it only when it is whole. The room for all rows is
    reserved first, and writes are plain ones: a full disk is an error before the first row, and no bus fault.
    """

    def __init__(self, folder: Path, num_rows: int, dim: int, create: bool = True) -> None:
        self._folder, self._num_rows, self._dim = folder, num_rows, dim
        if num_rows < 1:
            raise UserError(f"There is nothing to write to {folder}: no images were given.")
        if create:
            header = _header(num_rows, dim)
            with open(folder / FEATURES, "wb") as stream:
                stream.write(header)
                stream.flush()
                allocate(stream.fileno(), len(header) + num_rows * dim * 4, folder / FEATURES)
            (folder / "written").write_bytes(bytes(num_rows))
        self._offset = int(np.load(folder / FEATURES, mmap_mode="r").offset)

    def write(self, rows: np.ndarray, features: np.ndarray) -> None:
        """Stores features (n, D) as the given rows (n,)."""
        if features.shape != (len(rows), self._dim):
            raise ValueError(f"features are {features.shape}; {len(rows)} rows of {self._dim} were expected")
        if len(rows) and not 0 <= rows.min() <= rows.max() < self._num_rows:
            raise ValueError(f"rows {rows.min()}..{rows.max()} are outside 0..{self._num_rows - 1}")
        vectors = np.ascontiguousarray(features, dtype="<f4")
        if not np.isfinite(vectors).all():
            row = int(rows[np.argmin(np.isfinite(vectors).all(axis=1))])
            raise UserError(f"the embedding of row {row} holds NaN or infinity, or is beyond float32.")
        with (
            write_errors_told(self._folder / FEATURES),
            open(self._folder / FEATURES, "r+b") as feature_file,
            open(self._folder / "written", "r+b") as written_file,
        ):
            for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):
                if len(run):
                    first = int(rows[run[0]])
                    feature_file.seek(self._offset + first * self._dim * 4)
                    feature_file.write(vectors[run[0] : run[-1] + 1].tobytes())
                    written_file.seek(first)
                    written_file.write(b"\1" * len(run))

    def finish(
        self,
        labels: np.ndarray,
        image_ids: Strings,
        paths: Strings,
        manifest: Mapping[str, object],
        rows: np.ndarray | None = None,
        boxes: np.ndarray | None = None,
    ) -> int:
        """Completes the folder and returns how many of the rows are in it.

        labels, image_ids, paths and boxes describe all num_rows; rows that were never written are left out.
        rows: where each stands in the annotation table; by default it is the whole table, in its order.
        """
        rows = np.arange(self._num_rows) if rows is None else rows
        if not len(labels) == len(image_ids) == len(paths) == len(rows) == self._num_rows:
            raise ValueError(
                f"{len(labels)} labels, {len(image_ids)} image ids, {len(paths)} paths and {len(rows)} table rows "
                f"for {self._num_rows} rows"
            )
        written = np.frombuffer((self._folder / "written").read_bytes(), dtype=bool)
        kept = np.flatnonzero(written)
        if not len(kept):
            raise UserError(f"None of the {self._num_rows} images gave an embedding; nothing was written.")
        if len(kept) < self._num_rows:
            _compact(self._folder / FEATURES, kept, self._dim)
        ids, where = image_ids.take(kept), paths.take(kept)
        arrays = {
            "labels": np.asarray(labels, dtype=np.int64)[kept],
            "rows": np.asarray(rows, dtype=np.int64)[kept],
            "id_data": ids.data,
            "id_offsets": ids.offsets,
            "path_data": where.data,
            "path_offsets": where.offsets,
        }
        if boxes is not None:
            arrays["boxes"] = np.asarray(boxes, dtype=np.float32)[kept]
        write_npz(self._folder / ROWS, arrays)
        files = {name: file_facts(self._folder / name, in_blocks=name == FEATURES) for name in (FEATURES, ROWS)}
        own = {"format_version": FORMAT_VERSION, "num_rows": len(kept), "dim": self._dim, "files": files}
        write_manifest(self._folder / MANIFEST, {**manifest, **own})
        (self._folder / "written").unlink()
        return len(kept)


def _read(folder: Path, mmap: bool) -> Embeddings:
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder of embeddings: it does not exist. Write one with `shelfmark embed`."
            f"{left_by_version_1(folder)}"
        )
    for name in (FEATURES, ROWS, MANIFEST):
        if not (folder / name).is_file():
            raise UserError(f"{folder} is not a whole folder of embeddings: {name} is missing. {_REMAKE}")
    manifest = _read_manifest(folder)
    features = _read_features(folder / FEATURES, mmap)
    labels, image_ids, paths, rows, boxes = _read_rows(folder / ROWS)
    counts = {
        "features.npy": len(features),
        "labels in rows.npz": len(labels),
        "table rows in rows.npz": len(rows),
        "image ids in rows.npz": len(image_ids),
        "paths in rows.npz": len(paths),
        **({} if boxes is None else {"boxes in rows.npz": len(boxes)}),
        "num_rows in manifest.json": manifest["num_rows"],
    }
    if len(set(counts.values())) > 1 or features.shape[1] != manifest["dim"]:
        listed = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise UserError(
            f"{folder} does not fit together: rows are {listed}; "
            f"dim is {manifest['dim']} in manifest.json and {features.shape[1]} in features.npy. {_REMAKE}"
        )
    return Embeddings(features, labels, image_ids, paths, manifest, rows, boxes)


def _header(num_rows: int, dim: int) -> bytes:
    """The header of features.npy, which stands before the numbers."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (num_rows, dim)})
    return stream.getvalue()


def _compact(file: Path, kept: np.ndarray, dim: int) -> None:
    """Moves the kept rows, which rise, to the front and cuts the rest off. It needs no room."""
    source = np.load(file, mmap_mode="r")
    header, offset = _header(len(kept), dim), int(source.offset)
    # numpy leaves room for a longer number of rows.
    assert len(header) == offset, f"a header of {len(header)} bytes in place of {offset}"
    with open(file, "r+b") as stream:
        stream.write(header)
        for start in range(0, len(kept), _BLOCK_ROWS):
            # A row moves towards the front, so that none is written over before it has moved.
            stream.write(source[kept[start : start + _BLOCK_ROWS]].tobytes())
            stream.flush()
        del source
        stream.truncate()


def _read_manifest(folder: Path) -> dict[str, object]:
    """The manifest, once every byte of the other files has been checked against it."""
    file = folder / MANIFEST
    manifest = read_manifest(file)
    if not {"format_version", "num_rows", "dim"} <= manifest.keys():
        raise UserError(f"{file} lacks format_version, num_rows or dim. {_REMAKE}")
    if manifest["format_version"] == BEFORE_DIGESTS:
        _say_unchecked(folder)
        return manifest
    if manifest["format_version"] != FORMAT_VERSION:
        raise UserError(
            f"{file} has format_version {manifest['format_version']}; this Shelfmark reads {BEFORE_DIGESTS} and"
            f" {FORMAT_VERSION}. {_REMAKE}"
        )
    files = manifest.get("files")
    for name in (FEATURES, ROWS):
        try:
            check_file(folder / name, files.get(name) if isinstance(files, dict) else None)
        except UserError as error:
            raise UserError(f"{error} {_REMAKE}") from None
    return manifest


@cache
def _say_unchecked(folder: Path) -> None:
    warn(f"{folder} is of version 0.1.0, which wrote no checksums: damage to it would not be noticed. {_REMAKE}")


def _read_features(file: Path, mmap: bool) -> np.ndarray:
    try:
        # "c" keeps the file safe and gives an array that torch takes without a copy or a warning.
        features = np.load(file, mmap_mode="c" if mmap else None)
    except DAMAGED as error:
        raise UserError(f"{file} is damaged: {error}. {_REMAKE}") from None
    if features.ndim != 2 or features.dtype != np.float32:
        raise UserError(f"{file} holds {features.dtype} of shape {features.shape}, not float32 of (N, D). {_REMAKE}")
    return features


def _read_rows(file: Path) -> tuple[np.ndarray, Strings, Strings, np.ndarray, np.ndarray | None]:
    arrays = read_npz(file, remake=_REMAKE)
    try:
        ids = Strings.stored(arrays["id_data"], arrays["id_offsets"])
        paths = Strings.stored(arrays["path_data"], arrays["path_offsets"])
        labels, rows = whole_numbers(arrays["labels"], -1), whole_numbers(arrays["rows"], 0)
        return labels, ids, paths, rows, stored_boxes(arrays)
    except (KeyError, ValueError) as error:
        raise UserError(f"{file} is damaged: {error}. {_REMAKE}") from None
