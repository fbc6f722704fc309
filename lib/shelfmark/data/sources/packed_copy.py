"""A packed copy of a data set: the bytes of smaller JPEGs in a few large files, and an index by picture.

manifest.json       how it was made, and whether it is whole; written at the beginning, and again at the end
paths.npz           the path of each picture as the annotations give it, relative to data.root where it lies there
block_00000.jpegs   the bytes of pictures, one behind the other
block_00000.npy     a RECORD for each of them
block_00000.json    which pictures they are, and the hashes of both files; written when the block is whole

Legend: N pictures of the copy.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.arrays import DAMAGED, read_npz
from shelfmark.core.errors import UserError
from shelfmark.core.manifests import check_file, read_manifest
from shelfmark.core.string_places import StringPlaces
from shelfmark.core.strings import Strings

MANIFEST, PATHS = "manifest.json", "paths.npz"
KIND, FORMAT_VERSION = "packed copy", 2
RECORD = np.dtype(
    [
        ("offset", "<u4"),
        ("length", "<u4"),
        ("full_width", "<u4"),
        ("full_height", "<u4"),
        ("width", "<u4"),
        ("height", "<u4"),
        ("reason", "<u4"),
    ]
)
"""A picture in its block. full_width, full_height: of the original, upright. width, height: as it is packed. length: 0
for one that could not be read; then reason - 1 is its place in the block's list of reasons."""
CHANGED = "the packed copy was changed or cut off while it was read"

_MOST_MAPS = 256
"""Blocks that are mapped at a time: each takes a file descriptor, of which a process often has 1024."""


class PackedCopy:
    """keys: the paths of the N pictures. records: (N,) RECORD. sizes: bytes of each block. firsts: the first picture of
    each block. reasons: of each unreadable picture, by its number. facts: how the copy was made. command: that makes it
    again, of whose pictures only those that changed are packed anew.

    It may be pickled: the other process opens the folder anew. Processes that map a block share its pages.
    """

    def __init__(
        self,
        folder: Path,
        facts: Mapping[str, Any],
        keys: Strings,
        records: np.ndarray,
        firsts: np.ndarray,
        sizes: Sequence[int],
        reasons: Mapping[int, str],
        digest: str,
        command: str,
    ) -> None:
        self.folder, self.facts, self.keys, self.records = folder, facts, keys, records
        self.reasons, self.digest, self.command = reasons, digest, command
        self._firsts, self._sizes = firsts.tolist(), sizes
        self._maps: dict[int, mmap.mmap] = {}

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return open_copy, (self.folder,)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def advice(self) -> str:
        """What to do about pictures that cannot be read."""
        return (
            f"Repair their files, if these are damaged, and pack them anew: `{self.command}`; or take them out of the"
            " annotations"
        )

    @cached_property
    def places(self) -> StringPlaces:
        """Finds pictures by their keys."""
        return StringPlaces(self.keys)

    def read(self, picture: int) -> bytes:
        """The bytes of a picture that could be read. OSError: the block is no longer as it was when it was opened."""
        block = bisect_right(self._firsts, picture) - 1
        offset, length, *_ = self.records[picture].item()
        mapped = self._maps.get(block)
        if mapped is None:
            mapped = self._mapped(block)
        # All pages of the picture in one request; pictures are asked for in random order.
        start = offset - offset % mmap.PAGESIZE
        mapped.madvise(mmap.MADV_WILLNEED, start, offset + length - start)
        return mapped[offset : offset + length]

    def _mapped(self, block: int) -> mmap.mmap:
        if len(self._maps) >= _MOST_MAPS:
            self._maps.clear()
        descriptor = os.open(block_file(self.folder, block, "jpegs"), os.O_RDONLY | os.O_CLOEXEC)
        try:
            # A map that is longer than its file would end the process where it is read.
            if os.fstat(descriptor).st_size != self._sizes[block]:
                raise OSError(CHANGED)
            mapped = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
        mapped.madvise(mmap.MADV_RANDOM)
        self._maps[block] = mapped
        return mapped


def block_file(folder: Path, number: int, ending: str) -> Path:
    """A file of a block."""
    return folder / f"block_{number:05}.{ending}"


def open_copy(folder: Path) -> PackedCopy:
    """The packed copy in a folder. Its index is checked byte by byte; of the blocks, only that they are there in their
    size: `shelfmark shrink`, with the command that made the copy, checks every byte.

    Raises a UserError where there is none, where it is not whole, and where it is damaged.
    """
    folder = Path(os.path.abspath(folder))
    file = folder / MANIFEST
    try:
        told = os.stat(file)
    except OSError:
        lacks = f"it has no {MANIFEST}" if folder.is_dir() else "there is no such folder"
        raise UserError(
            f"data.source: {folder} is not a packed copy of images: {lacks}. `shelfmark shrink --config FILE --out DIR`"
            " makes one; data.source=files reads the images themselves."
        ) from None
    return _opened(folder, (told.st_ino, told.st_mtime_ns, told.st_size))


@lru_cache(maxsize=8)
def _opened(folder: Path, identity: tuple[int, int, int]) -> PackedCopy:
    """identity: of the manifest, so that a copy that was packed anew is opened anew."""
    manifest = packed_manifest(folder)
    if not manifest["is_whole"]:
        raise UserError(f"{folder} is not packed to the end. The command that began it goes on: {manifest['command']}")
    try:
        check_file(folder / PATHS, manifest["files"][PATHS])
        blocks = [read_block(folder, number) for number in range(manifest["num_blocks"])]
    except UserError as error:
        raise UserError(f"{error} {remake(folder)}") from None
    firsts = np.array([block["first"] for block, _ in blocks], np.int64)
    records = np.concatenate([np.empty(0, RECORD), *(records for _, records in blocks)])
    keys = read_paths(folder)
    if not len(keys) == len(records) == manifest["num_pictures"]:
        raise UserError(f"{folder} is damaged: it has {len(keys)} paths and {len(records)} records. {remake(folder)}")
    sizes = [block["jpegs"]["size_bytes"] for block, _ in blocks]
    for number, size in enumerate(sizes):
        _require_size(block_file(folder, number, "jpegs"), size)
    how = manifest["content"], manifest["command"]
    return PackedCopy(folder, manifest["facts"], keys, records, firsts, sizes, reasons_of(blocks), *how)


def packed_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a copy, whole or not. Raises a UserError where it is damaged or of another kind."""
    try:
        manifest = read_manifest(folder / MANIFEST)
    except UserError as error:
        raise UserError(
            f"{error} So {folder} is no packed copy that can be read. Give another folder; if it was a copy, remove it"
            " and pack the images again: shelfmark shrink."
        ) from None
    if manifest.get("kind") != KIND:
        raise UserError(f"{folder} holds something else than a packed copy of images. Give another folder.")
    if manifest["format_version"] != FORMAT_VERSION:
        raise UserError(
            f"{folder / MANIFEST} has format_version {manifest['format_version']}; this Shelfmark reads"
            f" {FORMAT_VERSION}. {remake(folder)}"
        )
    return manifest


def read_block(folder: Path, number: int) -> tuple[dict[str, Any], np.ndarray]:
    """What is written of a block, and its records (pictures,). The bytes of its pictures are not looked at."""
    block = read_manifest(block_file(folder, number, "json"))
    file = block_file(folder, number, "npy")
    check_file(file, block["npy"])
    try:
        records = np.load(file, allow_pickle=False)
    except DAMAGED as error:
        raise UserError(f"{file} is damaged: {error}.") from None
    if records.dtype != RECORD or records.shape != (block["num_pictures"],):
        raise UserError(f"{file} is damaged: it holds {records.dtype} of {records.shape}.")
    return block, records


def reasons_of(blocks: Iterable[tuple[Mapping[str, Any], np.ndarray]]) -> dict[int, str]:
    """Picture -> why it could not be read. blocks: all, of `read_block`."""
    return {
        int(block["first"]) + row: block["reasons"][records["reason"][row] - 1]
        for block, records in blocks
        for row in np.flatnonzero(records["length"] == 0).tolist()
    }


def read_paths(folder: Path) -> Strings:
    """The keys of the pictures."""
    arrays = read_npz(folder / PATHS, remake=remake(folder))
    try:
        return Strings.stored(arrays["data"], arrays["offsets"])
    except (KeyError, ValueError) as error:
        raise UserError(f"{folder / PATHS} is damaged: {error}. {remake(folder)}") from None


def remake(folder: Path) -> str:
    """The advice where a copy is damaged."""
    return f"Run the `shelfmark shrink` command that made {folder} again: it repairs damaged blocks."


def _require_size(file: Path, size_bytes: int) -> None:
    try:
        found = file.stat().st_size
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}. {remake(file.parent)}") from None
    if found != size_bytes:
        raise UserError(f"{file} has {found} bytes, and should have {size_bytes}. {remake(file.parent)}")
