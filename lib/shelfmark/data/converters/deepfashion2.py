"""DeepFashion2 (Ge et al., CVPR 2019): pieces of clothing in pictures of customers and of shops.

    train/image/, train/annos/, validation/image/, validation/annos/: 000001.jpg and 000001.json, ...
    an annotation: `source`, `user` or `shop`; `pair_id`; and `item1`, `item2`, ..., each with `category_name`, `style`
        and `bounding_box`, the left, upper, right and lower edge

Two pieces are one product if their pictures have the same pair_id, and they the same style, above 0. Pieces of style 0
have no counterpart and are left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from shelfmark.core.errors import UserError
from shelfmark.core.wording import counted
from shelfmark.data.converters.boxed_set import Mended
from shelfmark.data.converters.pictures import Picture
from shelfmark.data.converters.prepared import Prepared, existing_folder
from shelfmark.data.converters.retrieval_set import RetrievalSet, Search, prepare_retrieval
from shelfmark.data.converters.wrong_places import WrongPlaces

WHERE = (
    "Download train.zip and validation.zip by the form of github.com/switchablenorms/DeepFashion2, unpack them, and"
    " give the folder that holds train/ and validation/ as --source."
)
_USER, _SHOP = "user", "shop"


def prepare_deepfashion2(source: Path, out: Path, val_fraction: float = 0.2, seed: int = 0) -> Prepared:
    """Writes train, val, val_retrieval and test to `out`. In test the customers' pieces of the published validation
    part search the shops'; only those with a counterpart are queries."""
    base, mended, wrong, num_alone = existing_folder(Path(source)), Mended(), WrongPlaces(), 0
    parts: dict[str, list[tuple[Picture, str]]] = {}
    for part in ("train", "validation"):
        files = sorted((base / part / "annos").glob("*.json"))
        if not files:
            raise UserError(f"{base / part / 'annos'} has no JSON file. {WHERE}")
        found = [item for file in files for item in _items(file, part, mended, wrong)]
        parts[part] = [(picture, source) for picture, source in found if picture.name]
        num_alone += len(found) - len(parts[part])
    wrong.settle(base, notes=mended.notes())
    in_shops = {picture.name for picture, source in parts["validation"] if source == _SHOP}
    searched = [
        (picture, source) for picture, source in parts["validation"] if source == _SHOP or picture.name in in_shops
    ]
    is_query = [source == _USER for _, source in searched]
    notes = [f"{counted(num_alone, 'piece')} of style 0 were left out: nothing is their counterpart", *mended.notes()]
    dataset = RetrievalSet(
        base=base,
        train=[picture for picture, _ in parts["train"]],
        tests={"test": Search([picture for picture, _ in searched], is_query, [not one for one in is_query])},
        where=WHERE,
        recall_at=(1, 5, 10, 15, 20),
        notes=notes,
    )
    return prepare_retrieval(dataset, Path(out), val_fraction, seed)


def _items(file: Path, part: str, mended: Mended, wrong: WrongPlaces) -> list[tuple[Picture, str]]:
    """The pieces of a picture with its source; without a name where the style is 0."""
    found = list[tuple[Picture, str]]()
    with wrong.collected():
        source, pair, content = _content(file)
        for name, item in content.items():
            if not name.startswith("item"):
                continue
            with wrong.collected():
                style, box = _piece(file, name, item, mended)
                if box is not None:
                    # The two parts number their pairs each from 1.
                    product = f"{part}/{pair}/{style}" if style else ""
                    path = f"{part}/image/{file.stem}.jpg"
                    found.append((Picture(path, product, str(item.get("category_name") or ""), box), source))
    return found


def _content(file: Path) -> tuple[str, int, dict[str, Any]]:
    """The source, the pair and all fields of an annotation."""
    try:
        content = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise UserError(f"{file} is not valid JSON: {error}.") from None
    source, pair = (content.get("source"), content.get("pair_id")) if isinstance(content, dict) else (None, None)
    if source not in (_USER, _SHOP) or type(pair) is not int:
        raise UserError(f"{file} must have `source`, user or shop, and `pair_id`, a number.")
    return source, pair, content


def _piece(file: Path, name: str, item: Any, mended: Mended) -> tuple[int, tuple[float, ...] | None]:
    style, corners = (item.get("style"), item.get("bounding_box")) if isinstance(item, dict) else (None, None)
    box = corners if isinstance(corners, list) and {*map(type, corners)} <= {int, float} else []
    if type(style) is not int or style < 0 or len(box) != 4:
        raise UserError(f"{file}: {name} must have `style`, a number from 0, and `bounding_box`, four numbers.")
    return style, mended.box(box, None, f"{name} in {file}")
