"""Which file is which part: `train.csv` beside `val.csv`, or one file for all."""

from __future__ import annotations

from pathlib import Path

from shelfmark.core.errors import UserError
from shelfmark.data.findings import ImagesFolder

_PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def part_of(name: str) -> str | None:
    """train, val or test, of the ways to write them; None for another word."""
    return _PARTS.get(name.strip().lower())


def part_files(source: Path, ending: str) -> list[tuple[str, Path]]:
    """(part, file) of `source`: a file, whose part is empty text, or a folder of files named by their parts."""
    if source.is_file():
        return [("", source)]
    if not source.is_dir():
        raise UserError(f"--source {source} is not there: give a {ending} file, or a folder of them.")
    found = [(part_of(file.stem), file) for file in sorted(source.glob(f"*{ending}"))]
    known = [(part, file) for part, file in found if part]
    parts = [part for part, _ in known]
    twice = [part for part in dict.fromkeys(parts) if parts.count(part) > 1]
    if twice:
        raise UserError(f"{source} has two files for {twice[0]}; give a folder with one of each.")
    if "train" not in parts:
        names = ", ".join(file.name for _, file in found[:10]) or f"no {ending} file"
        raise UserError(f"{source} has no train{ending}; it has {names}. Give the file itself as --source.")
    # A train file alone is divided.
    return known if len(known) > 1 else [("", known[0][1])]


def images_folder(images: Path | None, source: Path) -> ImagesFolder:
    """The folder that the paths of a file start from: that of the file where none is given."""
    folder = images or (source if source.is_dir() else source.parent)
    if not folder.is_dir():
        raise UserError(f"--images {folder} is not a folder. It is what the paths in the file start from.")
    return ImagesFolder(folder, images is not None)
