"""SKU-110K (Goldman et al., CVPR 2019): photographs of packed shelves with a box around each product.

    annotations/annotations_train.csv, ..._val.csv, ..._test.csv: without a header,
        `image_name,x1,y1,x2,y2,class,image_width,image_height`
    images/: the photographs of all three parts

The boxes have one class, `object`. So they teach no product: they are for `shelfmark recognise --boxes`, and as
unlabelled records for `shelfmark discover`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from shelfmark.core.errors import UserError
from shelfmark.core.wording import counted
from shelfmark.data.converters.boxed_set import Mended
from shelfmark.data.converters.pictures import Picture, list_lines, require_pictures
from shelfmark.data.converters.plain_numbers import number_of
from shelfmark.data.converters.prepared import Prepared, existing_folder, write_new
from shelfmark.data.converters.wrong_places import WrongPlaces
from shelfmark.data.documents import annotations_json

WHERE = (
    "Download SKU110K_fixed.tar.gz by the link of github.com/eg4000/SKU110K_CVPR19, unpack it, and give the folder"
    " SKU110K_fixed, which holds annotations/ and images/, as --source."
)
PUBLISHED_PHOTOGRAPHS = {"train": 8_233, "val": 588, "test": 2_941}
_COLUMNS = "image_name,x1,y1,x2,y2,class,image_width,image_height"


def prepare_sku110k(source: Path, out: Path) -> Prepared:
    """Writes train.json, val.json and test.json to `out`: unlabelled records, each of one box."""
    base, out = existing_folder(Path(source)), Path(out)
    mended, wrong, notes = Mended(), WrongPlaces(), list[str]()
    parts: dict[str, list[Picture]] = {}
    for part, published in PUBLISHED_PHOTOGRAPHS.items():
        file = base / "annotations" / f"annotations_{part}.csv"
        if not file.is_file():
            if part == "train":
                raise UserError(f"{file} is missing. {WHERE}")
            continue
        parts[part] = list(_boxes(file, mended, wrong))
        photographs = len({picture.path for picture in parts[part]})
        if photographs != published:
            found = counted(photographs, "photograph")
            notes.append(f"{part}: expected {published:,} photographs, as published, but found {found}.")
    wrong.settle(base, notes=mended.notes())
    for pictures in parts.values():
        require_pictures(base, pictures, WHERE)
    contents = {out / f"{part}.json": _json(pictures) for part, pictures in parts.items()}
    write_new(contents)
    told = {
        out / f"{part}.json": f"{counted(len(pictures), 'box')} without a product" for part, pictures in parts.items()
    }
    notes += [*mended.notes(), "recognise the products in them: shelfmark recognise --boxes FILE"]
    return Prepared(files=told, options={"data.root": base}, notes=tuple(notes))


def _boxes(file: Path, mended: Mended, wrong: WrongPlaces) -> Iterator[Picture]:
    for number, row in enumerate(csv.reader(list_lines(file, WHERE)), start=1):
        where = f"{file}, line {number}"
        if not row:
            continue
        numbers = [number_of(one) for one in (*row[1:5], *row[6:])]
        known = [one for one in numbers if one is not None]
        if len(row) != 8 or len(known) != 6 or not row[0]:
            wrong.add(f"{where}: {','.join(row)[:80]!r} is not `{_COLUMNS}`.")
            continue
        *corners, width, height = known
        box = mended.box(corners, (int(width), int(height)), where)
        if box is not None:
            yield Picture(f"images/{row[0]}", row[5], box=box)


def _json(pictures: list[Picture]) -> bytes:
    records = ({**picture.record({picture.name: 0}), "category_id": None, "role": "unlabelled"} for picture in pictures)
    return annotations_json(records, 1, ["object"])
