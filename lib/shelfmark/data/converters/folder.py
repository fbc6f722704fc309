"""Folders of pictures, one a class: read by `data.class_folders`, divided into train and val, written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.rng import numpy_generator
from shelfmark.core.text_safety import in_line
from shelfmark.core.wording import are, counted
from shelfmark.data.class_folders import ClassFolders, read_class_folders
from shelfmark.data.converters.earlier_folder import EarlierFolder
from shelfmark.data.converters.prepared import Prepared, existing_folder
from shelfmark.data.documents import annotations_json, image_list_json
from shelfmark.data.holdout import stratified_draw
from shelfmark.data.real_roots import folders_behind_links
from shelfmark.data.same_files import same_files

WHERE = "Give your own folder of images, in which each class has a folder of its name, as --source."
_NUM_SHOWN = 5


def prepare_folder(source: Path, out: Path, val_fraction: float = 0.2, seed: int = 0) -> Prepared:
    """Writes `train.json` and `val.json` to `out`; the pictures stay where they are, paths are relative to `source`.

    Classes are numbered in the order of their sorted names. Where `source` has train and val, these are the parts.
    Otherwise `val_fraction` of each class, drawn by `seed`, is val; each class keeps a picture for train, and files of
    the same bytes stay together. A test part becomes `test.json`, and `test_labelled.json` where it has classes.
    A folder outside `source` to which a link in it leads is added to data.extra_roots: a run follows no other link.

    Again with the same `out`: what it wrote before and nobody edited is written anew, pictures stay in their part, and
    new ones join them. With another source or other options it is refused.
    """
    source, out = existing_folder(Path(source)), Path(out)
    folders = read_class_folders(source, out)
    is_drawn = not folders.val
    earlier = EarlierFolder.of(out, source, {"val_fraction": val_fraction, "seed": seed} if is_drawn else {})
    copies = same_files(source, [*folders.train, *folders.val])
    if is_drawn:
        folders = divided(folders, val_fraction, seed, earlier.parts(), copies)
    contents = annotation_files(folders, out)
    changed = earlier.write(contents)
    counts = Counter(folders.val.values())
    names = folders.class_names
    notes = [*folders.notes, *copy_notes(folders, copies), *changed]
    if is_drawn:
        notes += unvalidated_note([name for name in names if not counts[name]])
    options: dict[str, Path | str] = {"data.root": source}
    options |= {f"data.{part}_json": out / f"{part}.json" for part in ("train", "val")}
    if out / "test.json" in contents:
        options["data.test_json"] = out / "test.json"
    if out / "test_labelled.json" in contents:
        notes.append(
            "scores of the test images, after training: shelfmark evaluate --RESUME_MODEL log/RUN/best_model"
            f" data.val_json={out / 'test_labelled.json'}"
        )
    behind_links = folders_behind_links(source, [*folders.train, *folders.val, *folders.test, *folders.unlabelled_test])
    if behind_links:
        options["data.extra_roots"] = json.dumps(behind_links)
    return Prepared(
        files={path: _size(folders, path.stem) for path in contents},
        options=options,
        notes=tuple(notes),
        warnings=folders.warnings,
    )


def divided(
    folders: ClassFolders,
    val_fraction: float,
    seed: int,
    earlier: Mapping[str, str] | None = None,
    copies: Sequence[Sequence[str]] = (),
) -> ClassFolders:
    """`folders` with a part of each class of train drawn as val.

    earlier: path -> its part in an earlier division, `train` or `val`, which it keeps. copies: groups of files of the
    same bytes; those of one class stay together.
    """
    if not 0 < val_fraction < 1:
        raise UserError(f"--val-fraction {val_fraction} must lie between 0 and 1, both excluded.")
    first = {copy: group[0] for group in copies for copy in group}
    stands_for = {
        path: first[path] if path in first and folders.train[first[path]] == name else path
        for path, name in folders.train.items()
    }
    known = {stands_for[path]: part for path, part in (earlier or {}).items() if path in stands_for}
    drawn = _drawn(folders.train, sorted(set(stands_for.values())), known, val_fraction, seed)
    if not drawn:
        images, classes = counted(len(folders.train), "image"), counted(len(folders.class_names), "class")
        is_small = any(
            number > 1 for number in Counter(folders.train[path] for path in set(stands_for.values())).values()
        )
        more = (
            f"Add images, or take a larger share (--val-fraction of `shelfmark prepare folder`, here {val_fraction})."
        )
        way_out = more if is_small else "Add images: no class has two that differ."
        raise UserError(f"{images} in {classes} give no image to val: each class keeps one for training. {way_out}")
    train = {path: name for path, name in folders.train.items() if stands_for[path] not in drawn}
    val = {path: name for path, name in folders.train.items() if stands_for[path] in drawn}
    return replace(folders, train=train, val=val)


def _drawn(
    pictures: Mapping[str, str], candidates: Sequence[str], known: Mapping[str, str], fraction: float, seed: int
) -> set[str]:
    """The candidates that are val: all that were, and as many new ones as bring each class to its share."""
    _, labels = np.unique([pictures[path] for path in candidates], return_inverse=True)
    chosen = stratified_draw(labels, np.ones(len(labels), bool), fraction, seed)
    if not known:
        return {path for path, is_val in zip(candidates, chosen) if is_val}
    wanted = np.bincount(labels[chosen], minlength=len(labels))
    drawn = {path for path in candidates if known.get(path) == "val"}
    have = Counter(pictures[path] for path in drawn)
    left = Counter(pictures[path] for path in candidates if path not in drawn)
    new = [row for row, path in enumerate(candidates) if path not in known]
    for row in numpy_generator(seed, "new images").permutation(np.array(new, dtype=np.int64)).tolist():
        name = pictures[candidates[row]]
        if have[name] < wanted[labels[row]] and left[name] > 1:
            drawn.add(candidates[row])
            have[name] += 1
            left[name] -= 1
    return drawn


def annotation_files(folders: ClassFolders, out: Path) -> dict[Path, bytes]:
    """The annotations of a divided folder, by the files of `out` in which they belong."""
    labels = {name: label for label, name in enumerate(folders.class_names)}
    parts = {"train": folders.train, "val": folders.val, "test_labelled": folders.test}
    contents = {out / f"{part}.json": _encoded(found, labels) for part, found in parts.items() if found}
    images = [*folders.test, *folders.unlabelled_test]
    return contents | ({out / "test.json": image_list_json(images)} if images else {})


def _encoded(part: Mapping[str, str], labels: Mapping[str, int]) -> bytes:
    records = ({"category_id": labels[name], "fpath": path} for path, name in part.items())
    return annotations_json(records, len(labels), list(labels))


def _size(folders: ClassFolders, stem: str) -> str:
    if stem == "test":
        return counted(len(folders.test) + len(folders.unlabelled_test), "image")
    part = {"train": folders.train, "val": folders.val, "test_labelled": folders.test}[stem]
    return f"{counted(len(part), 'image')} in {counted(len(set(part.values())), 'class')}"


def unvalidated_note(names: Sequence[str]) -> list[str]:
    """A note about the classes that have no validation image; none if `names` is empty."""
    if not names:
        return []
    return [
        f"{counted(len(names), 'class')} with too few images to give one to val, trained and never scored therefore:"
        f" {in_line(names, _NUM_SHOWN)}"
    ]


def copy_notes(folders: ClassFolders, copies: Sequence[Sequence[str]]) -> list[str]:
    """What to tell about files of the same bytes: in two classes, and in train and val."""
    label = {**folders.train, **folders.val}
    two_classes = [group for group in copies if len({label[path] for path in group}) > 1]
    two_parts = [group for group in copies if len({path in folders.val for path in group}) > 1]
    found = (
        (two_classes, "in several classes, as files of the same bytes; only one class can be right"),
        (two_parts, "in train and in val, as files of the same bytes, so the scores of val are too high"),
    )
    return [
        f"{counted(len(groups), 'image')} {are(len(groups))} {words}:"
        f" {'; '.join(' = '.join(group[:3]) for group in groups[:_NUM_SHOWN])}"
        for groups, words in found
        if groups
    ]
