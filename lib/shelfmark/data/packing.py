"""Writes a packed copy, block by block, so that what is whole is never made twice. Legend: N pictures of the copy.

A block is known by its pictures, and by the sizes and times of their files: it is packed again where they changed, or
where it is damaged.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from shelfmark.core.arrays import write_npz
from shelfmark.core.errors import UserError
from shelfmark.core.files import atomic_path
from shelfmark.core.log import say
from shelfmark.core.manifests import check_file, file_facts, read_manifest, write_manifest
from shelfmark.core.stopping import raise_if_stopped
from shelfmark.core.strings import Strings
from shelfmark.data.file_threads import looked_at
from shelfmark.data.loader import worked
from shelfmark.data.shrunk import ShrunkPicture, shrunk_picture
from shelfmark.data.sources import FileSource, UnreadableImage
from shelfmark.data.sources.packed_copy import FORMAT_VERSION, PATHS, RECORD, block_file

BLOCK_BYTES = 256 << 20
"""As many bytes of pictures a block has at most, but one picture at least."""
_BATCH_SIZE = 16


@dataclass(frozen=True)
class Shrinking:
    """The work of a worker process. smallest_box_px: (N,) of `shrunk_picture`; None without boxes."""

    source: FileSource
    size_px: int
    quality: int
    max_pixels: int
    smallest_box_px: np.ndarray | None = None

    def __call__(self, rows: Sequence[int]) -> list[ShrunkPicture]:
        return [self._one(row) for row in rows]

    def _one(self, row: int) -> ShrunkPicture:
        box_px = np.inf if self.smallest_box_px is None else float(self.smallest_box_px[row])
        try:
            data, name = self.source.read(row), self.source.name(row)
            return shrunk_picture(data, name, self.size_px, self.quality, self.max_pixels, box_px)
        except UnreadableImage as failure:
            return ShrunkPicture(b"", reason=failure.reason)


class KnownBlock(NamedTuple):
    """A block that is there. rows: its pictures. is_sound: whether it is whole and their files are unchanged."""

    rows: range
    is_sound: bool


def file_stats(source: FileSource) -> np.ndarray:
    """(N, 2) int64: the size in bytes and the time of change in ns of each picture's file; -1 where there is none."""
    root = os.path.abspath(source.root)

    def look(paths: Sequence[str]) -> list[tuple[int, int]]:
        found = []
        for path in paths:
            try:
                told = os.stat(os.path.join(root, path))
                found.append((told.st_size, told.st_mtime_ns))
            except (OSError, ValueError):  # ValueError: a NUL in the name
                found.append((-1, -1))
        return found

    return np.array(looked_at(look, list(source.paths)), np.int64).reshape(-1, 2)


def known_blocks(folder: Path, stats: np.ndarray) -> list[KnownBlock]:
    """The blocks in a folder, one behind the other, each read whole and compared with its hash. stats: (N, 2) of
    `file_stats`, now."""
    found: list[KnownBlock] = []
    first = 0
    while first < len(stats):
        raise_if_stopped()
        number = len(found)
        try:
            block = read_manifest(block_file(folder, number, "json"))
        except UserError:
            break
        rows = range(first, first + block["num_pictures"])
        if block["first"] != first or rows.stop > len(stats):
            break
        found.append(KnownBlock(rows, _is_sound(folder, number, block, stats[rows])))
        first = rows.stop
    return found


def pack_blocks(
    folder: Path,
    shrinking: Shrinking,
    stats: np.ndarray,
    known: Sequence[KnownBlock],
    num_workers: int,
    report: Callable[[int], None],
) -> int:
    """Packs all N pictures of the source into blocks in `folder`, and returns the number of blocks.

    stats: (N, 2) of `file_stats`. known: of `known_blocks`; what is not sound is packed again, with the same pictures.
    report: called with how many pictures are done. A block is written whole or not at all, so an error or a signal
    (`Stopped`) leaves the whole ones.
    """
    done = 0
    for number, block in enumerate(known):
        if not block.is_sound:
            _pack(folder, shrinking, stats, block.rows, num_workers, number, None, report)
        done = block.rows.stop
        report(done)
    rest = range(done, len(stats))
    return _pack(folder, shrinking, stats, rest, num_workers, len(known), BLOCK_BYTES, report)


def write_paths(folder: Path, keys: Strings) -> None:
    """Writes the keys of the pictures."""
    with atomic_path(folder / PATHS) as beside:
        write_npz(beside, {"data": keys.data, "offsets": keys.offsets})


def remove_blocks(folder: Path, number: int) -> None:
    """Removes blocks from this number on, which an earlier beginning left."""
    for file in folder.glob("block_*.*"):
        digits = file.stem.removeprefix("block_")
        if digits.isdecimal() and int(digits) >= number:
            file.unlink()


def _is_sound(folder: Path, number: int, block: Mapping[str, Any], stats: np.ndarray) -> bool:
    if block["stats_sha256"] != _stats_hash(stats):
        return False
    try:
        for ending in ("jpegs", "npy"):
            check_file(block_file(folder, number, ending), block[ending])
    except UserError as error:
        say(f"{error} The block is packed again.")
        return False
    return True


def _pack(
    folder: Path,
    shrinking: Shrinking,
    stats: np.ndarray,
    rows: range,
    num_workers: int,
    number: int,
    most_bytes: int | None,
    report: Callable[[int], None],
) -> int:
    """Packs some pictures into blocks from `number` on, and returns the number behind them. most_bytes: of a block;
    None for one block of all."""
    if not rows:
        return number
    pictures = chain.from_iterable(worked(shrinking, rows, _BATCH_SIZE, num_workers))
    first, pending = rows.start, next(pictures, None)
    while pending is not None:
        records: list[tuple[int, ...]] = []
        reasons: list[str] = []
        with _block_written(folder, number) as stream:
            at = 0
            while pending is not None and (not records or most_bytes is None or at + len(pending.data) <= most_bytes):
                raise_if_stopped()
                if pending.reason and pending.reason not in reasons:
                    reasons.append(pending.reason)
                reason = reasons.index(pending.reason) + 1 if pending.reason else 0
                records.append((at, len(pending.data), *pending.full, *pending.size, reason))
                at += stream.write(pending.data)
                report(first + len(records))
                pending = next(pictures, None)
        _finish_block(folder, number, first, np.array(records, RECORD), reasons, stats)
        first, number = first + len(records), number + 1
    return number


@contextmanager
def _block_written(folder: Path, number: int) -> Iterator[BinaryIO]:
    with atomic_path(block_file(folder, number, "jpegs")) as beside, open(beside, "wb") as stream:
        yield stream


def _finish_block(
    folder: Path, number: int, first: int, records: np.ndarray, reasons: Sequence[str], stats: np.ndarray
) -> None:
    """Writes what belongs to the bytes of a block; the last file says that it is whole."""
    index = block_file(folder, number, "npy")
    with atomic_path(index) as beside, open(beside, "wb") as stream:
        np.save(stream, records)
    told = {
        "format_version": FORMAT_VERSION,
        "first": first,
        "num_pictures": len(records),
        "reasons": reasons,
        "stats_sha256": _stats_hash(stats[first : first + len(records)]),
        "jpegs": file_facts(block_file(folder, number, "jpegs"), in_blocks=True),
        "npy": file_facts(index),
    }
    write_manifest(block_file(folder, number, "json"), told)


def _stats_hash(stats: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(stats, dtype="<i8").tobytes()).hexdigest()
