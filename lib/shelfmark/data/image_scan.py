"""Every image decoded once before the training, so that all unreadable ones are found at once. Legend: N images."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from shelfmark.core import dist
from shelfmark.core.contracts import BadImage
from shelfmark.core.cores import num_cores
from shelfmark.core.csv_lines import line_feed_writer
from shelfmark.core.errors import UserError
from shelfmark.core.files import write_text
from shelfmark.core.heartbeat import beat
from shelfmark.core.log import say, warn
from shelfmark.core.stopping import raise_if_stopped
from shelfmark.core.strings import Strings
from shelfmark.core.text_safety import spreadsheet_cell
from shelfmark.core.together import from_main, together
from shelfmark.core.wording import counted
from shelfmark.data.bad_images import allowed, first_told, reasons_told
from shelfmark.data.checked_images import CheckedImages, image_keys, keys_with_boxes
from shelfmark.data.dataset import ImageDataset
from shelfmark.data.identity import identities
from shelfmark.data.image_bar import image_bar
from shelfmark.data.loader import eval_batches
from shelfmark.data.options import DataOptions
from shelfmark.data.source_words import reads_files
from shelfmark.data.sources import FileSource
from shelfmark.data.sources.lance_source import LanceSource
from shelfmark.data.sources.named import advice_on_unreadable, open_source
from shelfmark.data.sources.packed import PackedSource
from shelfmark.data.table import Table

MOST_BY_ITSELF = 20_000
"""As many images are checked with data.check_images=auto: some minutes of a few cores."""
UNREADABLE_LIST = "unreadable_images.csv"
_BATCH_SIZE, _FEW_IMAGES, _REMEMBERED_AT_ONCE = 32, 64, 20_000


def check_images(tables: Mapping[str, Table | None], data: DataOptions, folder: Path) -> None:
    """Decodes each image of the tables that is not known to be readable, in all processes, and reports all that fail.

    tables: by the names for messages, as `training`. folder: where runs are written; it keeps what is known, and the
    list of unreadable images in `findings/`.
    Raises a UserError where an image is unreadable and data.on_bad_image is `error`, or where more of a table are than
    data.max_bad_images allows. Otherwise a warning tells how many are. All processes call it together. Of images in a
    packed copy or a Lance dataset only those are reported that could not be read when it was made; none is decoded.
    """
    present = {name: table for name, table in tables.items() if table is not None}
    if not reads_files(data.source):
        from_main(lambda: _check_source(present, data, folder / "findings" / UNREADABLE_LIST))
        return
    if data.check_images == "never" or not present:
        return
    checked = CheckedImages.of(folder, data.root)
    new = from_main(lambda: _new_images(present, data, checked), "looking for images")
    bad: list[BadImage] = []
    for begin in range(0, len(new.paths), _REMEMBERED_AT_ONCE):
        rows = slice(begin, begin + _REMEMBERED_AT_ONCE)
        hulls = None if new.hulls is None else new.hulls[rows]
        found = unreadable_images(new.paths[rows], data, begin, len(new.paths), hulls)
        bad.extend(one._replace(row=begin + one.row) for one in found)
        from_main(partial(checked.add, np.delete(new.keys[rows], [one.row for one in found])))
    if bad:
        from_main(lambda: _report(bad, new.num_images, present, data, folder / "findings" / UNREADABLE_LIST))


def _check_source(tables: Mapping[str, Table], data: DataOptions, file: Path) -> None:
    """Reports the images that could not be read when the packed copy was made: the others were decoded then."""
    bad: dict[str, BadImage] = {}
    paths: set[str] = set()
    for table in tables.values():
        source = open_source(data.source, FileSource.of(table, data.max_image_bytes), data.root, data.color_profiles)
        paths.update(identities(table.paths, table.root))
        unread = source.unread if isinstance(source, PackedSource | LanceSource) else {}
        for row, reason in unread.items():
            path = next(identities([table.paths[row]], table.root))
            bad.setdefault(path, BadImage(len(bad), path, reason))
    if bad:
        _report(list(bad.values()), len(paths), tables, data, file)


class _NewImages(NamedTuple):
    """paths, keys: (N,) the images that are not known to be readable. num_images: how many images there are.

    hulls: (N, 4) the smallest box around all boxes of each image; None without boxes.
    """

    paths: list[str]
    keys: np.ndarray
    num_images: int
    hulls: np.ndarray | None = None


def _new_images(tables: Mapping[str, Table], data: DataOptions, checked: CheckedImages) -> _NewImages:
    """The images to decode; none where they are too many for `auto`."""
    if data.check_images == "auto":
        # Where too many images are left even if every remembered one is among them, no file is looked at.
        num_new = max(map(_num_paths, tables.values())) - len(checked)
        if num_new > MOST_BY_ITSELF:
            _tell_too_many(f"{num_new:,} images or more")
            return _NewImages([], np.empty(0), num_new, None)
    paths = list(dict.fromkeys(path for table in tables.values() for path in identities(table.paths, table.root)))
    keys = image_keys(paths, (data.max_image_bytes, data.max_image_pixels))
    hulls = _hulls(paths, tables.values())
    if hulls is not None:
        keys = keys_with_boxes(keys, hulls)
    rows = np.flatnonzero(~checked.has(keys))
    if data.check_images == "auto" and len(rows) > MOST_BY_ITSELF:
        _tell_too_many(f"{len(rows):,} images")
        rows = rows[:0]
    return _NewImages([paths[row] for row in rows], keys[rows], len(paths), None if hulls is None else hulls[rows])


def _num_paths(table: Table) -> int:
    """How many paths a table has, each counted once."""
    hashes = np.sort(table.paths.hashes())
    return min(len(hashes), 1) + int(np.count_nonzero(hashes[1:] != hashes[:-1]))


def _tell_too_many(images: str) -> None:
    say(
        f"{images} were not looked at before, too many to do so by itself: unreadable ones are found as training comes"
        " to them. data.check_images=always looks at all first."
    )


def _hulls(paths: Sequence[str], tables: Iterable[Table]) -> np.ndarray | None:
    """(N, 4) float32: the smallest box around all boxes that the tables have of each path; NaN where there is none.

    All boxes lie inside of a picture where the hull does, so that the picture is decoded once.
    """
    boxed = [table for table in tables if table.boxes is not None]
    if not boxed:
        return None
    row_of = {path: row for row, path in enumerate(paths)}
    # left, upper, right and lower edge
    edges = np.full((len(paths), 4), np.nan, np.float64)
    for table in boxed:
        rows = np.fromiter((row_of[path] for path in identities(table.paths, table.root)), np.int64, len(table))
        first, size = np.hsplit(np.asarray(table.boxes, np.float64), 2)
        np.fmin.at(edges[:, :2], rows, first)
        np.fmax.at(edges[:, 2:], rows, first + size)
    return np.concatenate([edges[:, :2], edges[:, 2:] - edges[:, :2]], axis=1).astype(np.float32)


def unreadable_images(
    paths: Sequence[str], data: DataOptions, begun: int = 0, total: int = 0, boxes: np.ndarray | None = None
) -> list[BadImage]:
    """Those of `paths`, which are absolute, that cannot be decoded, by row. Each process decodes a share of them.

    begun, total: for the bar: how many images came before these, and how many there are. boxes: (N, 4) that must lie
    inside of the images.
    """
    dataset = ImageDataset(
        FileSource(Strings.of(paths), Path("/"), data.max_image_bytes, boxes),
        None,
        _no_input,
        seed=0,
        on_bad_image="skip",
        max_pixels=data.max_image_pixels,
        profiles=data.color_profiles,
    )
    batches = eval_batches(dataset, _BATCH_SIZE, _num_workers(len(paths), data), dist.rank(), dist.world_size())
    bad: list[BadImage] = []
    total = total or len(paths)
    if not begun and total > _FEW_IMAGES:
        say(f"checking {counted(total, 'image')} ...")
    with together(), image_bar("checking images", total, begun) as show:
        done = 0
        for batch in batches:
            beat("checking images")
            raise_if_stopped()
            # The name of an image with a box has the box too.
            bad.extend(one._replace(path=paths[one.row]) for one in batch.bad)
            done += len(batch.rows) + len(batch.bad)
            # Every process has as many images as the main one, but for a batch.
            show(begun + min(len(paths), done * dist.world_size()))
    return sorted(one for share in dist.gather_objects(bad) for one in share)


def _no_input(pixels: np.ndarray, seed: int) -> Tensor:
    return torch.zeros(1, 1, 1)


def _num_workers(num_images: int, data: DataOptions) -> int:
    """Loader processes of this process: none where the recipe wants none, else as many as its share of the cores."""
    if not data.num_workers or num_images <= _FEW_IMAGES:
        return 0
    num_local = int(os.environ.get("LOCAL_WORLD_SIZE", dist.world_size()))
    return max(data.num_workers, num_cores() // num_local)


def _report(
    bad: Sequence[BadImage], num_images: int, tables: Mapping[str, Table], data: DataOptions, file: Path
) -> None:
    """Lists the unreadable images in `file`; then raises or warns."""
    what = f"{len(bad):,} of {counted(num_images, 'image')} could not be read"
    where = write_unreadable(bad, file)
    told, advice = f"{reasons_told(bad)}.{first_told(bad)}\n{where}", advice_on_unreadable(data.source)
    if data.on_bad_image == "error":
        raise UserError(
            f"{what}, so nothing was trained. {told} {advice}; or set data.on_bad_image=skip, which leaves them out."
        )
    paths = {one.path for one in bad}
    for name, table in tables.items():
        number = sum(path in paths for path in identities(table.paths, table.root))
        most = allowed(len(table), data.max_bad_images)
        if number > most or number == len(table):
            raise UserError(
                f"{what}: {number:,} of the {len(table):,} {name} images, more than {most:,}, so nothing was trained."
                f" {told} {advice}, or allow more, by data.max_bad_images (now {data.max_bad_images:g})."
            )
    warn(f"{what}; in training another image of the class takes the place of each. {told}")


def write_unreadable(bad: Sequence[BadImage], file: Path) -> str:
    """Writes the list of unreadable images, and returns a sentence that says where it is."""
    text = io.StringIO()
    rows = line_feed_writer(text)
    rows.writerow(("path", "reason"))
    rows.writerows((spreadsheet_cell(one.path), one.reason) for one in bad)
    try:
        write_text(file, text.getvalue())
    except (OSError, UserError) as error:
        return f"The whole list could not be written: {error}"
    return f"The whole list: {file}."
