"""Products-10K (Bai et al., 2020): products of an online shop, as classes and, above these, groups.

    train.csv: `name,class,group`; test_kaggletest.csv, or test.csv: the same, or `name` alone
    train/, test/: the pictures (or train/train/, test/test/, as some copies unpack)

Its test has the classes of its training part. So it is a classification set first, and a retrieval set where the test
pictures search among the training pictures.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.text_safety import in_line
from shelfmark.core.wording import counted
from shelfmark.data.converters.pictures import (
    NUM_SHOWN,
    Counts,
    Picture,
    class_groups,
    class_names,
    count_notes,
    list_lines,
    require_pictures,
)
from shelfmark.data.converters.prepared import Prepared, existing_folder, write_new
from shelfmark.data.converters.retrieval_set import Search
from shelfmark.data.documents import annotations_json, image_list_json
from shelfmark.data.holdout import stratified_draw

WHERE = (
    "Download the training and test images and their lists from products-10k.github.io (or its Kaggle competition),"
    " unpack them to train/ and test/ beside train.csv and test.csv, and give the folder that holds all this as"
    " --source."
)
PUBLISHED = {"train": Counts(141_931, 9_691)}
PUBLISHED_TEST_IMAGES = 55_376


class _Test(NamedTuple):
    """names: of the files, in the list's order. pictures: the same with their classes, empty without labels."""

    names: list[str]
    pictures: list[Picture]
    folder: str


def prepare_products10k(source: Path, out: Path, val_fraction: float = 0.2, seed: int = 0) -> Prepared:
    """Writes train and val to `out`, a seeded `val_fraction` of each class, and what the test part allows.

    test.json is for a submission. With labels come test_labelled.json, to score it, and test_retrieval.json: the
    test pictures search among all training pictures. Classes are numbered in the order of their ids, in all files.
    """
    base, out = existing_folder(Path(source)), Path(out)
    published = _labelled(base / "train.csv", _folder(base, "train"))
    test = _test(base)
    require_pictures(base, published, WHERE)
    train, val = _split(published, val_fraction, seed)
    files = {"train": train, "val": val}
    if test is not None:
        require_pictures(base, test.pictures or [Picture(test.folder + name, "") for name in test.names], WHERE)
        files |= {"test_labelled": test.pictures} if test.pictures else {}
    names = class_names(published)
    _require_known(test, names, base)
    groups = class_groups(published, names)
    labels = {name: label for label, name in enumerate(names)}
    contents = {
        name: annotations_json(_records(pictures, labels), len(names), names, groups)
        for name, pictures in files.items()
    }
    told = {name: _content(pictures) for name, pictures in files.items()}
    options: dict[str, Path | str] = {"data.root": base}
    options |= {f"data.{part}_json": out / f"{part}.json" for part in ("train", "val")}
    if test is not None:
        contents["test"] = image_list_json(test.names)
        told["test"] = f"{counted(len(test.names), 'image')} without labels"
        options |= {"data.test_json": out / "test.json", "data.test_root": base / test.folder}
        if test.pictures:
            search = _search(test.pictures, published)
            contents["test_retrieval"] = annotations_json(search.records(labels), len(names), names, groups)
            told["test_retrieval"] = search.content
    write_new({out / f"{name}.json": content for name, content in contents.items()})
    return Prepared(
        files={out / f"{name}.json": text for name, text in told.items()},
        options=options,
        notes=tuple(_notes(published, test, out)),
    )


def _folder(base: Path, part: str) -> str:
    return f"{part}/{part}/" if (base / part / part).is_dir() else f"{part}/"


def _rows(file: Path) -> list[dict[str, str]]:
    reader = csv.DictReader(list_lines(file, WHERE))
    rows = list(reader)
    if "name" not in (reader.fieldnames or []):
        raise UserError(f"{file} has no column 'name'; it has: {', '.join(reader.fieldnames or [])}. {WHERE}")
    _require_column(file, rows, "name")
    return rows


def _labelled(file: Path, folder: str) -> list[Picture]:
    rows = _rows(file)
    if not rows or "class" not in rows[0]:
        raise UserError(f"{file} must have the columns name, class and group, and at least one row. {WHERE}")
    _require_column(file, rows, "class")
    return [Picture(folder + row["name"], row["class"], row.get("group") or "") for row in rows]


def _require_column(file: Path, rows: Sequence[Mapping[str, str]], column: str) -> None:
    wrong = [f"line {line}" for line, row in enumerate(rows, start=2) if not row[column]]
    if wrong:
        raise UserError(f"{file}: {len(wrong)} rows have no {column}: {', '.join(wrong[:NUM_SHOWN])}. {WHERE}")


def _test(base: Path) -> _Test | None:
    files = [base / name for name in ("test_kaggletest.csv", "test.csv") if (base / name).is_file()]
    if not files:
        return None
    folder, rows = _folder(base, "test"), _rows(files[0])
    if not rows:
        raise UserError(f"{files[0]} has no row. {WHERE}")
    pictures = _labelled(files[0], folder) if "class" in rows[0] else []
    return _Test([row["name"] for row in rows], pictures, folder)


def _split(pictures: Sequence[Picture], val_fraction: float, seed: int) -> tuple[list[Picture], list[Picture]]:
    if not 0 < val_fraction < 1:
        raise UserError(f"--val-fraction {val_fraction} must lie between 0 and 1, both excluded.")
    _, labels = np.unique([picture.name for picture in pictures], return_inverse=True)
    drawn = stratified_draw(labels, np.ones(len(labels), dtype=bool), val_fraction, seed)
    if not drawn.any():
        raise UserError(f"{len(pictures)} images give none to val at --val-fraction {val_fraction}; raise it.")
    parts: tuple[list[Picture], list[Picture]] = ([], [])
    for picture, is_val in zip(pictures, drawn):
        parts[bool(is_val)].append(picture)
    return parts


def _require_known(test: _Test | None, names: Sequence[str], base: Path) -> None:
    unknown = sorted({picture.name for picture in test.pictures} - set(names)) if test else []
    if unknown:
        raise UserError(
            f"{base}: the test list has {counted(len(unknown), 'class')} that train.csv has no image of:"
            f" {in_line(unknown, NUM_SHOWN)}. The lists do not belong together. {WHERE}"
        )


def _search(test: Sequence[Picture], train: Sequence[Picture]) -> Search:
    is_query = [True] * len(test) + [False] * len(train)
    return Search([*test, *train], is_query, [not one for one in is_query])


def _records(pictures: Sequence[Picture], labels: Mapping[str, int]) -> Iterator[dict[str, object]]:
    return ({"category_id": labels[picture.name], "fpath": picture.path} for picture in pictures)


def _content(pictures: Sequence[Picture]) -> str:
    return f"{counted(len(pictures), 'image')} in {counted(len({picture.name for picture in pictures}), 'class')}"


def _notes(train: Sequence[Picture], test: _Test | None, out: Path) -> Iterator[str]:
    yield from count_notes({"train": train}, PUBLISHED)
    if test is None:
        yield "there is no test.csv, so there is no test part."
        return
    if len(test.names) != PUBLISHED_TEST_IMAGES:
        yield f"test: expected {PUBLISHED_TEST_IMAGES:,} images, as published, but found {len(test.names):,}."
    if test.pictures:
        yield (
            "the test: shelfmark evaluate --RESUME_MODEL CKPT"
            f" data.val_json={out / 'test_labelled.json'} data.retrieval_json={out / 'test_retrieval.json'}"
        )
    else:
        yield "the test list has no classes, so it can be predicted but not scored."
