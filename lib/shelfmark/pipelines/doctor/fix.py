"""New annotations without what is surely wrong. Pictures, and the files of before, stay as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import orjson

from shelfmark.core.disk import make_folders
from shelfmark.core.door import command_line
from shelfmark.core.files import write_text
from shelfmark.data.documents import read_document
from shelfmark.data.identity import identities
from shelfmark.data.lists import write_image_ids
from shelfmark.data.parquet_records import ParquetRecords, is_parquet
from shelfmark.doctor.listings import TRAIN, Listings
from shelfmark.doctor.remedy import pictures_to_drop
from shelfmark.pipelines.doctor.copies import Copies
from shelfmark.pipelines.doctor.diagnosis import Fixed
from shelfmark.recipe import Recipe
from shelfmark.runtime.measured_pictures import MeasuredPictures

DROP_LIST = "drop.txt"
_MORE = "data.more_train_json"


def fix(
    recipe: Recipe,
    listings: Listings,
    copies: Copies,
    measured: MeasuredPictures,
    folder: Path,
    begin: Sequence[str] = (),
) -> Fixed:
    """Writes to `folder` a new file for each annotation file that loses records, and the list of those of train.

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
        gone = {listings.paths[picture] for picture in drops[split].tolist()}
        for number, file in enumerate(files):
            target = folder / (file.name if number == 0 else f"{file.stem}_{number + 1}{file.suffix}")
            target = _unused(target, written.values())
            num = _filtered(file, target, key, name, root, gone)
            shown = option if len(files) == 1 else f"{option}[{number}]"
            if num:
                written[shown], dropped[shown] = target, num
    ids = _ids(listings, drops[TRAIN])
    write_image_ids(folder / DROP_LIST, ids)
    emptied = _emptied(listings, drops[TRAIN])
    options = list(_options(recipe.data.more_train_json, written))
    replaced = tuple(f"{one.partition('=')[0]}=" for one in options)
    command = command_line("train", *(word for word in begin if not word.startswith(replaced)), *options)
    return Fixed(folder, written, dropped, folder / DROP_LIST, emptied, command)


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


def _filtered(file: Path, target: Path, key: str, name: str, root: Path, gone: set[str]) -> int:
    """Writes the file without the records of pictures that are gone, all else as it was; how many those are."""
    if is_parquet(file):
        return _filtered_parquet(file, target, name, root, gone)
    document, _ = read_document(file, key)
    records = document[key]
    paths = identities((record[name] for record in records), root)
    kept = [record for record, path in zip(records, paths) if path not in gone]
    if len(kept) < len(records):
        lines = b",\n".join(map(orjson.dumps, kept))
        others = {other: value for other, value in document.items() if other != key}
        rest = b"".join(b",\n" + orjson.dumps(other) + b": " + orjson.dumps(value) for other, value in others.items())
        text = b"{" + orjson.dumps(key) + b": [\n" + lines + b"\n]" + rest + b"}\n"
        write_text(target, text.decode())
    return len(records) - len(kept)


def _filtered_parquet(file: Path, target: Path, name: str, root: Path, gone: set[str]) -> int:
    records = ParquetRecords(file)
    kept = np.array([path not in gone for path in identities(records.cells(name), root)])
    if not kept.all():
        records.write_rows(target, kept)
    return int((~kept).sum())


def _ids(listings: Listings, pictures: np.ndarray) -> list[str]:
    train = listings.splits.index(TRAIN)
    return [
        listings.image_id(row)
        for picture in pictures.tolist()
        for row in listings.of_picture(picture).tolist()
        if listings.split[row] == train
    ]


def _emptied(listings: Listings, pictures: np.ndarray) -> tuple[str, ...]:
    """The names of classes of which no training image is left."""
    labels = listings.train_labels()
    labelled = labels >= 0
    left = labelled.copy()
    left[pictures] = False
    table = listings.tables[TRAIN]
    lost = np.setdiff1d(labels[labelled], labels[left]).tolist()
    return tuple(table.class_names[label] if table.class_names else str(label) for label in lost)


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
