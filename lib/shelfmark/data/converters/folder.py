"""Folders of pictures, one a class: `<class name>/**/<image>`, with or without `train/` and `val/` above them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.data.annotations import IMAGE_SUFFIXES, image_paths
from shelfmark.data.converters.prepared import Prepared, existing_folder, write_new
from shelfmark.data.documents import annotations_json
from shelfmark.data.holdout import stratified_draw
from shelfmark.data.real_roots import folders_behind_links


def prepare_folder(source: Path, out: Path, val_fraction: float = 0.2, seed: int = 0) -> Prepared:
    """Writes `train.json` and `val.json` to `out`; the pictures stay where they are, paths are relative to `source`.

    Classes are numbered in the order of their sorted names. If `source` has both `train/` and `val/`, these are the
    parts. Otherwise `val_fraction` of each class, drawn by `seed`, is val; each class keeps a picture for train.
    A folder outside `source` to which a link in it leads is added to data.extra_roots: a run follows no other link.
    """
    source, out = existing_folder(Path(source)), Path(out)
    if (source / "train").is_dir() and (source / "val").is_dir():
        train, val = _pictures(source, "train/"), _pictures(source, "val/")
    else:
        train, val = _split(_pictures(source, ""), val_fraction, seed)
    names = sorted(set(train.values()))
    unknown = sorted(set(val.values()) - set(names))
    if unknown:
        raise UserError(
            f"{source / 'val'} has {len(unknown)} classes that {source / 'train'} has no image of:"
            f" {', '.join(unknown[:20])}. Rename these folders or remove them."
        )
    files = {out / "train.json": train, out / "val.json": val}
    labels = {name: label for label, name in enumerate(names)}
    write_new({path: _encoded(part, labels) for path, part in files.items()})
    options = {"data.root": source, "data.train_json": out / "train.json", "data.val_json": out / "val.json"}
    behind_links = folders_behind_links(source, [*train, *val])
    return Prepared(
        files={path: f"{len(part):,} images in {len(set(part.values())):,} classes" for path, part in files.items()},
        options=options | ({"data.extra_roots": json.dumps(behind_links)} if behind_links else {}),
        notes=tuple(_notes(source, names)),
    )


def _pictures(source: Path, part: str) -> dict[str, str]:
    """The class name of each picture, by its path relative to `source`."""
    paths = image_paths(source / part)
    loose = [path for path in paths if "/" not in path]
    if loose:
        raise UserError(
            f"{source / part} holds {len(loose):,} images outside any class folder, such as {loose[0]}. Each image"
            " must lie in the folder of its class: <class name>/<image>."
        )
    if not paths:
        raise UserError(
            f"{source / part} holds no image. Expected <class name>/<image>, the image ending in one of:"
            f" {' '.join(IMAGE_SUFFIXES)}."
        )
    return {part + path: path.split("/", 1)[0] for path in paths}


def _split(pictures: dict[str, str], val_fraction: float, seed: int) -> tuple[dict[str, str], dict[str, str]]:
    if not 0 < val_fraction < 1:
        raise UserError(f"--val-fraction {val_fraction} must lie between 0 and 1, both excluded.")
    _, labels = np.unique(list(pictures.values()), return_inverse=True)
    drawn = stratified_draw(labels, np.ones(len(labels), dtype=bool), val_fraction, seed)
    if not drawn.any():
        raise UserError(
            f"{len(pictures)} images in {labels.max() + 1} classes give no image to val at --val-fraction"
            f" {val_fraction}: each class keeps one for training. Raise it, or add images."
        )
    parts: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for (path, name), is_val in zip(pictures.items(), drawn):
        parts[bool(is_val)][path] = name
    return parts


def _encoded(part: dict[str, str], labels: dict[str, int]) -> bytes:
    records = ({"category_id": labels[name], "fpath": path} for path, name in part.items())
    return annotations_json(records, len(labels), list(labels))


def _notes(source: Path, names: list[str]) -> list[str]:
    top = source / "train" if (source / "train").is_dir() and (source / "val").is_dir() else source
    folders = (path.name for path in top.iterdir() if path.is_dir() and not path.name.startswith("."))
    empty = sorted(set(folders) - set(names))
    return (
        [f"no image in {len(empty)} folders, which are no classes therefore: {', '.join(empty[:20])}"] if empty else []
    )
