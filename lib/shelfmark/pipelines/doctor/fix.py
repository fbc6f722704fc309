"""New annotations without what is surely wrong. Pictures, and the files of before, stay as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import nan
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from shelfmark.core.disk import make_folders
from shelfmark.core.door import command_line
from shelfmark.core.files import write_text
from shelfmark.core.strings import Strings
from shelfmark.data.boxes import box_texts
from shelfmark.data.documents import read_document
from shelfmark.data.findings import Findings
from shelfmark.data.identity import identities
from shelfmark.data.lists import write_image_ids
from shelfmark.data.parquet_records import ParquetRecords, is_parquet
from shelfmark.data.record_fields import BBOX
from shelfmark.doctor.listings import TRAIN, Listings
from shelfmark.doctor.remedy import pictures_to_drop
from shelfmark.pipelines.doctor.copies import Copies
from shelfmark.pipelines.doctor.diagnosis import Fixed
from shelfmark.recipe import Recipe
from shelfmark.runtime.measured_pictures import MeasuredPictures

DROP_LIST = "drop.txt"
_MORE = "data.more_train_json"
_WHOLE = (nan,) * 4


def fix(
    recipe: Recipe,
    listings: Listings,
    copies: Copies,
    measured: MeasuredPictures,
    is_outside: np.ndarray,
    folder: Path,
    begin: Sequence[str] = (),
) -> Fixed:
    """Writes to `folder` a new file for each annotation file that loses records, and the list of those of train.

    is_outside: (listings,) bool, of `boxes_outside`: these records are lost, and not the others of their pictures.
    begin: the first words of the training that is proposed, such as `--config`, `mine.yaml`.
    """
    facts = measured.facts
    num_pixels = facts["width"].astype(np.int64) * facts["height"]
    drops = pictures_to_drop(listings, copies.exact, copies.pairs, measured.is_read, num_pixels)
    make_folders(folder)
    written: dict[str, Path] = {}
    dropped: dict[str, int] = {}
    for option, files in _files(recipe, listings.splits).items():
        split, root, key, name = _place(option, recipe)
        gone = _Gone.of(listings, split, drops[split], is_outside)
        for number, file in enumerate(files):
            target = folder / (file.name if number == 0 else f"{file.stem}_{number + 1}{file.suffix}")
            target = _unused(target, written.values())
            num = _filtered(file, target, key, name, root, gone)
            shown = option if len(files) == 1 else f"{option}[{number}]"
            if num:
                written[shown], dropped[shown] = target, num
    lost = _lost_of_train(listings, drops[TRAIN], is_outside)
    write_image_ids(folder / DROP_LIST, _ids(listings, lost))
    emptied = _emptied(listings, lost)
    options = list(_options(recipe.data.more_train_json, written))
    replaced = tuple(f"{one.partition('=')[0]}=" for one in options)
    command = command_line("train", *(word for word in begin if not word.startswith(replaced)), *options)
    return Fixed(folder, written, dropped, folder / DROP_LIST, emptied, command)


class _Gone(NamedTuple):
    """What a split loses. paths: of pictures, with all their records. boxes: `path#x,y,width,height` of single ones."""

    paths: set[str]
    boxes: set[str]

    @classmethod
    def of(cls, listings: Listings, split: str, pictures: np.ndarray, is_outside: np.ndarray) -> _Gone:
        paths = {listings.paths[picture] for picture in pictures.tolist()}
        mine = np.flatnonzero(is_outside & (listings.split == listings.splits.index(split)))
        boxes = listings.tables[split].boxes
        if boxes is None or not len(mine):
            return cls(paths, set())
        texts = box_texts(boxes[listings.row[mine]])
        named = (listings.paths[picture] for picture in listings.picture[mine].tolist())
        return cls(paths, {path + text for path, text in zip(named, texts)})

    def keeps(self, paths: Iterable[str], boxes: np.ndarray | None) -> np.ndarray:
        """(N,) bool, of records. boxes: (N, 4), NaN for the whole picture; None where no record has a box."""
        names = list(paths)
        kept = np.array([path not in self.paths for path in names], bool)
        if self.boxes and boxes is not None:
            # As a table has them, and so to the same hundredth.
            texts = box_texts(boxes.astype(np.float32))
            kept &= np.array([path + text not in self.boxes for path, text in zip(names, texts)], bool)
        return kept


def _files(recipe: Recipe, splits: Iterable[str]) -> dict[str, tuple[Path, ...]]:
    data = recipe.data
    found: dict[str, tuple[Path, ...]] = {}
    for split in splits:
        file = getattr(data, f"{split}_json")
        found[f"data.{split}_json"] = (file,)
        if split == TRAIN and data.more_train_json:
            found[_MORE] = data.more_train_json
    return found


def _place(option: str, recipe: Recipe) -> tuple[str, Path, str, str]:
    """The split of an option's files, the folder of their images, and the names of the list and of a path in them."""
    data = recipe.data
    if option == "data.test_json":
        return "test", data.test_root or data.root, "images", "image_id"
    split = option.removeprefix("data.").removesuffix("_json").removeprefix("more_")
    return split, data.root, "annotations", "fpath"


def _filtered(file: Path, target: Path, key: str, name: str, root: Path, gone: _Gone) -> int:
    """Writes the file without the records that are gone, all else as it was; how many those are."""
    if is_parquet(file):
        return _filtered_parquet(file, target, name, root, gone)
    document, _ = read_document(file, key)
    records = document[key]
    paths = identities((record[name] for record in records), root)
    boxes = np.array([record.get("bbox") or _WHOLE for record in records], np.float64).reshape(-1, 4)
    kept = [record for record, is_kept in zip(records, gone.keeps(paths, boxes).tolist()) if is_kept]
    if len(kept) < len(records):
        lines = b",\n".join(map(orjson.dumps, kept))
        others = {other: value for other, value in document.items() if other != key}
        rest = b"".join(b",\n" + orjson.dumps(other) + b": " + orjson.dumps(value) for other, value in others.items())
        text = b"{" + orjson.dumps(key) + b": [\n" + lines + b"\n]" + rest + b"}\n"
        write_text(target, text.decode())
    return len(records) - len(kept)


def _filtered_parquet(file: Path, target: Path, name: str, root: Path, gone: _Gone) -> int:
    records = ParquetRecords(file)
    boxes = records.columns((BBOX,), Findings())["bbox"]
    assert not isinstance(boxes, Strings)
    kept = gone.keeps(identities(records.cells(name), root), boxes)
    if not kept.all():
        records.write_rows(target, kept)
    return int((~kept).sum())


def _lost_of_train(listings: Listings, pictures: np.ndarray, is_outside: np.ndarray) -> np.ndarray:
    """(listings,) bool: the listings that train loses."""
    is_gone = np.zeros(len(listings.paths), bool)
    is_gone[pictures] = True
    return (listings.split == listings.splits.index(TRAIN)) & (is_gone[listings.picture] | is_outside)


def _ids(listings: Listings, lost: np.ndarray) -> list[str]:
    """The ids of the listings that are lost, in the order of their pictures; none that a record which stays has too."""
    stays = np.flatnonzero((listings.split == listings.splits.index(TRAIN)) & ~lost).tolist()
    of_others = set(map(listings.image_id, stays))
    rows = np.flatnonzero(lost)
    ids = map(listings.image_id, rows[np.argsort(listings.picture[rows], kind="stable")].tolist())
    return [one for one in ids if one not in of_others]


def _emptied(listings: Listings, lost: np.ndarray) -> tuple[str, ...]:
    """The names of classes of which no training image is left."""
    is_labelled = (listings.split == listings.splits.index(TRAIN)) & (listings.labels >= 0)
    labels, table = listings.labels, listings.tables[TRAIN]
    lost_labels = np.setdiff1d(labels[is_labelled], labels[is_labelled & ~lost]).tolist()
    return tuple(table.class_names[label] if table.class_names else str(label) for label in lost_labels)


def _options(more_train_json: Sequence[Path], written: Mapping[str, Path]) -> Iterator[str]:
    """The options of a recipe that name the new files."""
    yield from (f"{option}={file}" for option, file in written.items() if not option.startswith(_MORE))
    if any(option.startswith(_MORE) for option in written):
        names = (_MORE if len(more_train_json) == 1 else f"{_MORE}[{number}]" for number in range(len(more_train_json)))
        files = (str(written.get(name, file)) for name, file in zip(names, more_train_json))
        yield f"{_MORE}=[{','.join(files)}]"


def _unused(path: Path, taken: Iterable[Path]) -> Path:
    number, candidate = 2, path
    while candidate in set(taken):
        candidate, number = path.with_name(f"{path.stem}_{number}{path.suffix}"), number + 1
    return candidate
