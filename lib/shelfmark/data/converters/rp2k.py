"""RP2K (Peng et al., 2020): products as they stand in shelves, cut out of photographs of shops.

all/train/PRODUCT/*.jpg, all/test/PRODUCT/*.jpg: the products, one folder a class
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from shelfmark.core.errors import UserError
from shelfmark.core.wording import counted
from shelfmark.data.converters.folder import prepare_folder
from shelfmark.data.converters.prepared import Prepared, existing_folder

WHERE = (
    "Download RP2K from pinlandata.com/rp2k_dataset, unpack it, and give the folder that holds all/train/ and all/test/"
    " as --source."
)
PUBLISHED_CLASSES = 2_388


def prepare_rp2k(source: Path, out: Path, val_fraction: float = 0.2, seed: int = 0) -> Prepared:
    """Writes train and val, a seeded `val_fraction` of each class of the training part, and test and test_labelled.

    A picture is one product already, so there are no boxes.
    """
    base = _base(existing_folder(Path(source)))
    prepared = prepare_folder(base, Path(out), val_fraction, seed)
    return replace(prepared, notes=(*_count_notes(base), *prepared.notes))


def _base(source: Path) -> Path:
    for folder in (source, source / "all", source / "rp2k_dataset" / "all"):
        if (folder / "train").is_dir() and (folder / "test").is_dir():
            return folder
    raise UserError(f"{source} has no all/train/ and all/test/. {WHERE}")


def _count_notes(base: Path) -> Iterator[str]:
    found = sum(one.is_dir() for one in (base / "train").iterdir())
    if found != PUBLISHED_CLASSES:
        yield f"train: expected {PUBLISHED_CLASSES:,} classes, as published, but found {counted(found, 'class')}."
