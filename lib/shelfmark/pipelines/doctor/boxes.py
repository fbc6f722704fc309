"""Records whose box lies outside of their photograph. Legend: n rows."""

from __future__ import annotations

import numpy as np

from shelfmark.data.boxes import OUTSIDE_PX, has_box
from shelfmark.data.images import upright_size
from shelfmark.data.options import DataOptions
from shelfmark.data.sources import FileSource, ImageSource, UnreadableImage
from shelfmark.data.sources.named import open_source
from shelfmark.data.sources.packed import PackedSource
from shelfmark.doctor.listings import Listings
from shelfmark.runtime.measured_pictures import MeasuredPictures


def boxes_outside(listings: Listings, measured: MeasuredPictures, data: DataOptions) -> np.ndarray:
    """(listings,) bool: those whose box a training refuses: it lies outside of a picture that can be read."""
    found = np.zeros(len(listings.picture), bool)
    for place, table in enumerate(listings.tables.values()):
        if table.boxes is None:
            continue
        mine = np.flatnonzero(listings.split == place)
        pictures = listings.picture[mine]
        rows = np.flatnonzero(has_box(table.boxes) & measured.is_read[pictures])
        source = open_source(data.source, FileSource.of(table, data.max_image_bytes), data.root, data.color_profiles)
        sizes = np.stack([measured.facts[name][pictures[rows]] for name in ("width", "height")], axis=1)
        doubtful = rows[~_is_inside(table.boxes[rows].astype(np.float64), sizes.astype(np.float64))]
        found[mine[_refused(source, doubtful, pictures)]] = True
    return found


def _is_inside(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(n,) bool. boxes: (n, 4). sizes: (n, 2) width and height. The rule is that of `boxes.Crop.slices`."""
    begin, end = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    over = (begin < -OUTSIDE_PX) | (end > sizes + OUTSIDE_PX) | (begin >= sizes) | (end <= 0)
    return ~over.any(axis=1)


def _refused(source: ImageSource, rows: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """Those of the rows whose box is outside of the whole picture: what was measured may have been decoded smaller, to
    data.max_image_pixels or into a packed copy. pictures: of all rows."""
    refused, size_of = [], dict[int, tuple[int, int]]()
    for row in rows[np.argsort(pictures[rows], kind="stable")].tolist():
        picture = int(pictures[row])
        try:
            if picture not in size_of:
                size_of = {picture: _size(source, row)}
            crop = source.crop(row)
            if crop is not None:
                crop.slices(size_of[picture])
        except (UnreadableImage, ValueError):
            refused.append(row)
    return np.array(sorted(refused), np.int64)


def _size(source: ImageSource, row: int) -> tuple[int, int]:
    """Width and height of the picture that the source's crops are cut out of."""
    if isinstance(source, PackedSource):
        record = source.copy.records[int(source.places[row])]
        return int(record["width"]), int(record["height"])
    return upright_size(source.read(row), source.name(row))
