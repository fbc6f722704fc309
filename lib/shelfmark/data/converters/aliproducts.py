"""AliProducts as it was published: `train.json`, `val.json`, `test.json` beside folders of pictures.

train, val: {"images": [{"image_id": "1849756.jpg", "class_id": "00042"}, ...]}, files train/00042/1849756.jpg
test:       {"images": [{"image_id": "17.jpg"}, ...]}, files test/17.jpg
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from shelfmark.core.errors import UserError
from shelfmark.core.wording import counted
from shelfmark.data.converters.prepared import Prepared, existing_folder, write_new
from shelfmark.data.documents import annotations_json, image_list_json
from shelfmark.data.findings import WRONG_TYPE, Findings, Places
from shelfmark.data.record_fields import TEXT, Field
from shelfmark.data.record_files import read_records
from shelfmark.data.shown_values import shown

WHERE = (
    "Get AliProducts with dataset/get_dataset_AiProducts.sh, and give the folder that holds train.json, val.json and"
    " test.json as --source."
)
PUBLISHED_CLASSES = 50_030

_IMAGE_ID = Field("image_id", TEXT, required=True)
_CLASS_ID = Field("class_id", replace(TEXT, wanted="text of digits with its zeros, such as '00042'"), required=True)


@dataclass(frozen=True)
class _Part:
    """The images of one raw file. class_ids: as text, because they name folders; empty for the test part."""

    name: str
    image_ids: list[str]
    class_ids: list[str]

    @property
    def labels(self) -> set[int]:
        return {int(class_id) for class_id in set(self.class_ids)}

    def records(self) -> Iterator[dict[str, object]]:
        for image_id, class_id in zip(self.image_ids, self.class_ids):
            yield {"category_id": int(class_id), "fpath": f"{self.name}/{class_id}/{image_id}"}


def prepare_aliproducts(source: Path, out: Path | None = None) -> Prepared:
    """Writes `converted_{train,val,test}.json` to `out` (`source` if not given); the pictures stay where they are.

    Paths are relative to `source`, which becomes `data.root`. train.json must be there; val and test may be missing.
    """
    source = existing_folder(Path(source))
    out = Path(out or source)
    if not (source / "train.json").is_file():
        raise UserError(
            f"{source} has no train.json. Expected train.json, val.json and test.json beside the folders"
            " train/<class_id>/<image_id>, val/<class_id>/<image_id> and test/<image_id>."
        )
    names = [name for name in ("train", "val", "test") if (source / f"{name}.json").is_file()]
    parts = [_read(source / f"{name}.json", name) for name in names]
    num_classes = 1 + max(label for part in parts for label in part.labels)
    files = {out / f"converted_{part.name}.json": part for part in parts}
    write_new({path: _encoded(part, num_classes) for path, part in files.items()})
    options = {"data.root": source} | {f"data.{part.name}_json": path for path, part in files.items()}
    if "test" in names:
        options["data.test_root"] = source / "test"
    return Prepared(
        files={path: _content(part, num_classes) for path, part in files.items()},
        options=options,
        notes=tuple(_notes(source, names, num_classes)),
    )


def _read(file: Path, name: str) -> _Part:
    findings = Findings()
    records = read_records(file, "images", (_IMAGE_ID,) if name == "test" else (_IMAGE_ID, _CLASS_ID), findings)
    image_ids = list(records.texts("image_id"))
    class_ids = [] if name == "test" else list(records.texts("class_id"))
    wrong = {text for text in set(class_ids) if not (text.isascii() and text.isdigit())}
    reported = {finding.record for finding in findings.errors} if wrong else set()
    for index in [index for index, text in enumerate(class_ids) if text in wrong and index not in reported]:
        findings.error(index, WRONG_TYPE, f"class_id={shown(class_ids[index])}, wanted {_CLASS_ID.kind.wanted}")
    findings.settle(file, image_ids, places=Places(records.bytes_of))
    return _Part(name, image_ids, class_ids)


def _encoded(part: _Part, num_classes: int) -> bytes:
    return image_list_json(part.image_ids) if part.name == "test" else annotations_json(part.records(), num_classes)


def _content(part: _Part, num_classes: int) -> str:
    images = counted(len(part.image_ids), "image")
    return images if part.name == "test" else f"{images} in {len(part.labels):,} of {counted(num_classes, 'class')}"


def _notes(source: Path, names: list[str], num_classes: int) -> Iterator[str]:
    if num_classes != PUBLISHED_CLASSES:
        yield (
            f"class ids go to {num_classes - 1}, so num_classes={num_classes} was written;"
            f" the published set has {PUBLISHED_CLASSES}."
        )
    for name in ("val", "test"):
        if name not in names:
            yield f"{source} has no {name}.json, so there is no {name} part."
    for name in names:
        if not (source / name).is_dir():
            yield f"the folder {source / name} is missing; its images must be there before a run."
    if (source / "product_tree.json").is_file():
        yield "product_tree.json is not used: Shelfmark does not train on the product hierarchy."
