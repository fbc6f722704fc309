"""The Grocery Store Dataset (Klasson et al., WACV 2019): photographs of 81 products taken in shops.

    train.txt, val.txt, test.txt: one line an image, `path, fine label, coarse label`
    classes.csv: each class's name, coarse name, and the path of its studio ("iconic") picture

The public repository has all this in its folder `dataset/`; copies without the test part are common.
"""

from __future__ import annotations

import csv
import filecmp
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from shelfmark.core.errors import UserError
from shelfmark.core.rng import numpy_generator
from shelfmark.core.wording import counted
from shelfmark.data.converters.pictures import first_of, list_lines, role_record
from shelfmark.data.converters.prepared import Prepared, existing_folder, new_pictures, refuse_to_replace, write_new
from shelfmark.data.documents import annotations_json, image_list_json

WHERE = "Give the copy of github.com/marcusklasson/GroceryStoreDataset as --source."
_NAME, _ID = "Class Name (str)", "Class ID (int)"
_COARSE, _ICONIC = "Coarse Class Name (str)", "Iconic Image Path (str)"


class _Product(NamedTuple):
    """One class. iconic: the path of its studio picture."""

    name: str
    group: str
    iconic: str


class _Photograph(NamedTuple):
    path: str
    label: int


def prepare_grocery(source: Path, out: Path, seed: int = 0) -> Prepared:
    """Makes `out` complete by itself: the pictures, and train, val, retrieval (and test) annotations beside them.

    Pictures are hard links where the disk allows, else copies. retrieval.json has the val photographs as queries
    and the studio pictures of all classes as the gallery. discovery.json is for `shelfmark discover`; `seed` draws the
    classes that are labelled there. With a test part come test.json, for a submission, and test_labelled.json, to score
    it.
    """
    base, out = _base(existing_folder(Path(source))), Path(out)
    products = _products(base / "classes.csv")
    parts = {
        name: _photographs(base / f"{name}.txt", len(products))
        for name in ("train", "val", "test")
        if name != "test" or (base / "test.txt").is_file()
    }
    annotated = _annotated(parts, products, seed)
    names, groups = [product.name for product in products], [product.group for product in products]
    contents = {
        out / f"{name}.json": annotations_json(records, len(products), names, groups)
        for name, records in annotated.items()
    }
    if "test" in parts:
        contents[out / "test.json"] = image_list_json(photograph.path for photograph in parts["test"])
    refuse_to_replace(contents)
    _link([str(record["fpath"]) for records in annotated.values() for record in records], base, out)
    write_new(contents)
    options = {f"data.{name}_json": out / f"{name}.json" for name in (*parts, "retrieval")}
    return Prepared(
        files={path: _content(annotated.get(path.stem) or annotated["test_labelled"], path.stem) for path in contents},
        options={"data.root": out} | options,
    )


def _base(source: Path) -> Path:
    for folder in (source, source / "dataset"):
        if (folder / "train.txt").is_file() and (folder / "val.txt").is_file() and (folder / "classes.csv").is_file():
            return folder
    raise UserError(
        f"{source} is not the Grocery Store Dataset: neither it nor its folder dataset/ holds train.txt, val.txt and"
        f" classes.csv. {WHERE}"
    )


def _products(file: Path) -> list[_Product]:
    reader = csv.DictReader(list_lines(file, WHERE))
    rows = list(reader)
    lacking = [name for name in (_NAME, _ID, _COARSE, _ICONIC) if name not in (reader.fieldnames or [])]
    if lacking:
        raise UserError(f"{file} has no column {lacking[0]!r}; it has: {', '.join(reader.fieldnames or [])}.")
    by_id = {
        row[_ID].strip(): _Product(row[_NAME].strip(), row[_COARSE].strip(), row[_ICONIC].strip().lstrip("/"))
        for row in rows
    }
    ids = [str(label) for label in range(len(rows))]
    if set(by_id) != set(ids):
        raise UserError(f"{file}: the {_ID!r} column must hold each of 0..{len(rows) - 1} once.")
    return [by_id[label] for label in ids]


def _photographs(file: Path, num_classes: int) -> list[_Photograph]:
    found: list[_Photograph] = []
    wrong: list[str] = []
    for number, line in enumerate(list_lines(file, WHERE), start=1):
        if not line.strip():
            continue
        path, _, label = line.rpartition(",")[0].rpartition(",")
        label = label.strip()
        if path.strip() and label.isdecimal() and int(label) < num_classes:
            found.append(_Photograph(path.strip(), int(label)))
        else:
            wrong.append(f"line {number}: {line}")
    if wrong or not found:
        shown = "\n  ".join(wrong[:20]) or "it is empty"
        raise UserError(
            f"{file}: {len(wrong)} lines are not `path, label, coarse label` with a label in 0..{num_classes - 1}:"
            f"\n  {shown}"
        )
    return found


def _annotated(
    parts: Mapping[str, list[_Photograph]], products: list[_Product], seed: int
) -> dict[str, list[dict[str, object]]]:
    """The records of each annotation file, by the file's stem."""
    plain = {
        "test_labelled" if name == "test" else name: [_record(photograph) for photograph in part]
        for name, part in parts.items()
    }
    queries = [_record(photograph) | {"is_query": True, "is_gallery": False} for photograph in parts["val"]]
    gallery = [
        _record(_Photograph(product.iconic, label)) | {"is_query": False, "is_gallery": True}
        for label, product in enumerate(products)
    ]
    return plain | {"retrieval": queries + gallery, "discovery": _discovery(parts, len(products), seed)}


def _discovery(parts: Mapping[str, list[_Photograph]], num_classes: int, seed: int) -> list[dict[str, object]]:
    """Half of the classes, rounded up and drawn by the seed, are labelled. Of the others the train photographs are
    unlabelled, and the val photographs are the test. Val photographs of labelled classes are left out."""
    drawn = numpy_generator(seed, "grocery.discovery").permutation(num_classes)[: (num_classes + 1) // 2]
    labelled = set(drawn.tolist())
    return [
        *(role_record(*one, "labelled" if one.label in labelled else "unlabelled") for one in parts["train"]),
        *(role_record(*one, "test") for one in parts["val"] if one.label not in labelled),
    ]


def _record(photograph: _Photograph) -> dict[str, object]:
    return {"category_id": photograph.label, "fpath": photograph.path}


def _content(records: list[dict[str, object]], stem: str) -> str:
    if stem == "test":
        return f"{counted(len(records), 'image')} without labels"
    if stem == "discovery":
        count = Counter(record["role"] for record in records)
        labelled = counted(count["labelled"], "labelled image")
        return f"{labelled}, {count['unlabelled']:,} unlabelled, {count['test']:,} test"
    classes = len({record["category_id"] for record in records})
    return f"{counted(len(records), 'image')} in {counted(classes, 'class')}"


def _link(pictures: Iterable[str], base: Path, out: Path) -> None:
    wanted = list(dict.fromkeys(pictures))
    outside = [name for name in wanted if name.startswith("/") or ".." in Path(name).parts]
    if outside:
        raise UserError(
            f"{base} lists {first_of(outside)}: that leads out of its folder, and every path must stay in it."
        )
    missing = [name for name in wanted if not (base / name).is_file()]
    if missing:
        shown = "\n  ".join(missing[:20])
        raise UserError(f"{base} lacks {len(missing):,} of its {len(wanted):,} images; copy it again:\n  {shown}")
    # The licence asks to travel with the pictures.
    wanted += ["LICENSE"] if (base / "LICENSE").is_file() else []
    with new_pictures(out) as place_for:
        for name in wanted:
            source, target = (base / name).resolve(), out / name
            if not _is_there(source, target):
                _link_file(source, place_for(target))


def _is_there(source: Path, target: Path) -> bool:
    if not target.exists():
        return False
    if os.path.samefile(source, target) or filecmp.cmp(source, target, shallow=False):
        return True
    raise UserError(f"{target} is there already and is another image than {source}. Give another --out.")


def _link_file(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without hard links
        shutil.copyfile(source, target)
