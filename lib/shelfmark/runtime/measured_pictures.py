"""Every picture measured once: a pass over the files that can be stopped, and what is kept of it. Legend: N pictures.

The records lie in a folder beside the runs, in parts of some thousands, under the path, size and time of each file. So
a stopped pass goes on, and a later one decodes only what is new or was changed.

    manifest.json            how the pictures were measured
    part_00000_5f0c3a91.npy  records; the end of the name is drawn at random
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core import dist
from shelfmark.core.artefact import differences, listed
from shelfmark.core.cores import num_cores
from shelfmark.core.errors import UserError
from shelfmark.core.files import atomic_path
from shelfmark.core.heartbeat import beat
from shelfmark.core.log import say
from shelfmark.core.manifests import read_manifest, write_manifest
from shelfmark.core.stopping import Stopped, raise_if_stopped
from shelfmark.core.strings import Strings
from shelfmark.core.together import from_main, together
from shelfmark.core.wording import counted
from shelfmark.data.checked_images import CheckedImages, copied_keys, image_keys
from shelfmark.data.dataset import ImageDataset
from shelfmark.data.image_bar import image_bar
from shelfmark.data.loader import eval_batches
from shelfmark.data.options import DataOptions
from shelfmark.data.sources import FileSource
from shelfmark.data.sources.named import open_source, source_digest
from shelfmark.doctor.measures import RECORD, THUMB_PX, measured

PHASE = "looking at images"
SPOILT = "readable before, though its size and time are the same: look after the disk"

_STORED = np.dtype([("key", "V16"), ("record", RECORD)])
_FACTS = np.dtype([(name, RECORD[name]) for name in RECORD.names or () if name != "thumb"])
_AT_A_TIME, _BATCH_SIZE, _FEW_IMAGES = 20_000, 32, 64
_MANIFEST = "manifest.json"
_WRITTEN_BY: dict[str, Any] = {"measures": 1, "thumb_px": THUMB_PX}


@dataclass(frozen=True, eq=False)
class MeasuredPictures:
    """parts: arrays of records, on the disk. place: (N, 2) int64, the part of each picture and its row there, -1 for a
    picture that could not be read. reasons: row -> why not."""

    parts: Sequence[np.ndarray]
    place: np.ndarray
    reasons: Mapping[int, str]

    @cached_property
    def facts(self) -> np.ndarray:
        """(N,) the fields of measures.RECORD without the thumbnail; zeros for a picture that could not be read."""
        found = np.zeros(len(self.place), _FACTS)
        for number, part in enumerate(self.parts):
            mine = np.flatnonzero(self.place[:, 0] == number)
            rows = self.place[mine, 1]
            for name in _FACTS.names or ():
                found[name][mine] = part["record"][name][rows]
        return found

    @property
    def is_read(self) -> np.ndarray:
        """(N,) bool."""
        return self.place[:, 0] >= 0

    def thumbs(self, pictures: np.ndarray) -> np.ndarray:
        """(n, 32, 32, 3) uint8 of readable pictures (n,)."""
        found = np.empty((len(pictures), THUMB_PX, THUMB_PX, 3), np.uint8)
        place = self.place[pictures]
        for number in np.unique(place[:, 0]).tolist():
            mine = np.flatnonzero(place[:, 0] == number)
            found[mine] = self.parts[number]["record"]["thumb"][place[mine, 1]]
        return found


def measured_pictures(paths: Strings, data: DataOptions, log_root: Path) -> MeasuredPictures:
    """The records of all pictures; those that are not known yet are decoded now, in all processes together.

    paths: (N,) absolute. log_root: where runs are written; the records are kept in a folder there, and the pictures
    that could be read are remembered for the scan before a training. Stopped keeps what was measured until then.
    """
    store = _Store(log_root, data.root)
    names = list(paths)
    keys, rows = from_main(lambda: _unknown(names, data, store), "looking for images")
    checked = from_main(lambda: CheckedImages.of(log_root, data.root))
    reasons: dict[int, str] = {}
    if len(rows) > _FEW_IMAGES:
        say(f"{PHASE}: {counted(len(rows), 'image')}, of {len(names):,}")
    for begin in range(0, len(rows), _AT_A_TIME):
        part = rows[begin : begin + _AT_A_TIME]
        found, is_good, bad, stopped = _measured([names[row] for row in part], data, begin, len(rows))
        from_main(partial(_keep, store, checked, keys[part[is_good]], found[is_good]))
        if stopped is not None:
            raise stopped
        was_readable = checked.has(keys[part[list(bad)]]) if bad else ()
        for row, reason, before in zip(bad, bad.values(), was_readable):
            reasons[int(part[row])] = f"{reason} ({SPOILT})" if before else reason
    dist.barrier()
    with together():
        parts, place = store.found(keys)
        _require_all(place, reasons, store.folder)
    return MeasuredPictures(parts, place, reasons)


def kept_folder(log_root: Path, root: Path) -> Path:
    """Where the records of pictures under `root` are kept."""
    name = hashlib.sha256(os.fsencode(os.path.abspath(root))).hexdigest()[:16]
    return Path(log_root) / ".doctor" / name


class _Store:
    """The folder of the records."""

    def __init__(self, log_root: Path, root: Path) -> None:
        self.folder = kept_folder(log_root, root)

    def open(self) -> None:
        """Removes records that were measured in another way, and says what differs."""
        told: dict[str, Any] | None = None
        with suppress(UserError):
            told = read_manifest(self.folder / _MANIFEST)
        if told is not None:
            found = differences({name: value for name, value in told.items() if name != "format_version"}, _WRITTEN_BY)
            if not found:
                return
            say(f"{self.folder}: the images are looked at anew: {listed(found)}")
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        write_manifest(self.folder / _MANIFEST, {"format_version": 2, **_WRITTEN_BY})

    def add(self, keys: np.ndarray, records: np.ndarray) -> None:
        stored = np.empty(len(keys), _STORED)
        stored["key"], stored["record"] = keys, records
        number = len(list(self.folder.glob("part_*.npy")))
        # Another run may add a part to the same folder at the same time.
        name = f"part_{number:05}_{os.urandom(4).hex()}.npy"
        with atomic_path(self.folder / name) as beside, open(beside, "wb") as stream:
            np.save(stream, stored)

    def found(self, keys: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """The parts, and for each key (N,) its part and row (N, 2), -1 where there is none."""
        parts = [part for file in sorted(self.folder.glob("part_*.npy")) if (part := _part(file)) is not None]
        place = np.full((len(keys), 2), -1, np.int64)
        wanted = _halves(keys)
        for number, part in enumerate(parts):
            have = _halves(part["key"])
            order = np.argsort(have[:, 0])
            near = order[np.minimum(np.searchsorted(have[:, 0], wanted[:, 0], sorter=order), len(order) - 1)]
            known = (have[near] == wanted).all(1)
            place[known, 0], place[known, 1] = number, near[known]
        return parts, place


def _require_all(place: np.ndarray, reasons: Mapping[int, str], folder: Path) -> None:
    """A picture without a record and without a reason would count as one that cannot be read."""
    is_known = place[:, 0] >= 0
    is_known[list(reasons)] = True
    if not is_known.all():
        raise UserError(
            f"{folder}: the records of {counted(int((~is_known).sum()), 'image')} were removed while the images were"
            " looked at; does another process clear the folder? The same command looks at these images again."
        )


def _unknown(names: Sequence[str], data: DataOptions, store: _Store) -> tuple[np.ndarray, np.ndarray]:
    """The key of each picture, and the rows of those that have no record."""
    store.open()
    limits = (data.max_image_bytes, data.max_image_pixels)
    copy = source_digest(data.source)
    keys = image_keys(names, limits) if copy is None else copied_keys(names, copy, limits)
    return keys, np.flatnonzero(store.found(keys)[1][:, 0] < 0)


def _measured(
    paths: Sequence[str], data: DataOptions, begun: int, total: int
) -> tuple[np.ndarray, np.ndarray, dict[int, str], Stopped | None]:
    """(N,) RECORD of `paths`, whether each could be read, and why some could not, by row. Each process decodes a share
    of them. The last value is the signal that ended it before all were looked at, the same in all processes."""
    source = open_source(
        data.source, FileSource(Strings.of(paths), Path("/"), data.max_image_bytes), data.root, data.color_profiles
    )
    dataset = ImageDataset(
        source, None, measured, seed=0, on_bad_image="skip", max_pixels=data.max_image_pixels
    )  # fmt: skip
    batches = eval_batches(dataset, _BATCH_SIZE, _num_workers(len(paths), data), dist.rank(), dist.world_size())
    rows: list[np.ndarray] = []
    records: list[np.ndarray] = []
    bad: list[tuple[int, str]] = []
    stopped: Stopped | None = None
    try:
        with together(), image_bar(PHASE, total, begun) as show:
            done = 0
            for batch in batches:
                beat(PHASE)
                bad.extend((one.row, one.reason) for one in batch.bad)
                if len(batch):
                    rows.append(batch.rows.numpy())
                    records.append(batch.images.numpy().reshape(len(batch), -1).view(RECORD)[:, 0])
                done += len(batch) + len(batch.bad)
                # Every process has as many images as the main one, but for a batch.
                show(begun + min(len(paths), done * dist.world_size()))
                raise_if_stopped()
    except Stopped as signal:
        # What was looked at until then is kept.
        stopped = signal
    return *_gathered(len(paths), rows, records, bad), stopped


def _gathered(
    num: int, rows: list[np.ndarray], records: list[np.ndarray], bad: list[tuple[int, str]]
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    found, is_good = np.zeros(num, RECORD), np.zeros(num, bool)
    every_bad: dict[int, str] = {}
    for their_rows, theirs, reasons in dist.gather_objects((rows, records, bad)):
        for some, values in zip(their_rows, theirs):
            found[some], is_good[some] = values, True
        every_bad.update(reasons)
    return found, is_good, dict(sorted(every_bad.items()))


def _keep(store: _Store, checked: CheckedImages, keys: np.ndarray, found: np.ndarray) -> None:
    if len(keys):
        store.add(keys, found)
        checked.add(keys)


def _num_workers(num_images: int, data: DataOptions) -> int:
    """Loader processes of this process: none where the recipe wants none, else as many as its share of the cores."""
    if not data.num_workers or num_images <= _FEW_IMAGES:
        return 0
    num_local = int(os.environ.get("LOCAL_WORLD_SIZE", dist.world_size()))
    return max(data.num_workers, num_cores() // num_local)


def _part(file: Path) -> np.ndarray | None:
    """The records of a part; None of a damaged one, whose pictures are then looked at again."""
    with suppress(OSError, ValueError, EOFError):
        found = np.load(file, mmap_mode="r", allow_pickle=False)
        if found.dtype == _STORED and found.ndim == 1 and len(found):
            return found
    return None


def _halves(keys: np.ndarray) -> np.ndarray:
    """(N, 2) uint64. Keys that agree in the first half alone do not occur in any number of files."""
    return np.ascontiguousarray(keys).view(np.uint64).reshape(len(keys), 2)
