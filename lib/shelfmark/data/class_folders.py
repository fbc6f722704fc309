"""Folders of pictures, one a class, with or without `train`, `val` and `test` above them: what is where.

    <class>/**/<picture>                          a division into train and val is still to be drawn
    train/<class>/**  val/<class>/**  test/**     also: training, valid, validation, testing, in any case of letters

The class is the first folder; those below it do not count. A single folder around all that is entered.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shelfmark.core.errors import UserError
from shelfmark.core.text_encoding import has_other_bytes
from shelfmark.core.text_safety import in_line
from shelfmark.core.wording import are, counted
from shelfmark.data.identity import is_under
from shelfmark.data.image_files import SKIPPED_FOLDERS, ImageFiles, image_files
from shelfmark.data.image_kinds import NAMES_READ
from shelfmark.data.near_paths import folded

TRAIN, VAL, TEST = "train", "val", "test"
_PARTS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VAL),
    **dict.fromkeys(("test", "testing"), TEST),
}
_PART_NAME = re.compile(rf"({'|'.join(_PARTS)})[ _-]?(?:set|data|images|split)?")
_NUM_SHOWN = 20
_EXPECTED = "Expected <class>/<picture>, or train/<class>/<picture> with val/ and test/ like it."


@dataclass(frozen=True)
class ClassFolders:
    """The pictures of a folder by part and class. Paths are relative to `source`, with forward slashes.

    files: all that lies in `source`. train, val, test: path -> name of the class. val is empty where a division is to
    be drawn. unlabelled_test: test pictures without folders of classes; then `test` is empty. class_names: those of
    train, sorted; a class's number is its place. notes: what a user should know. warnings: what is likely a mistake.
    """

    source: Path
    files: ImageFiles
    train: Mapping[str, str]
    val: Mapping[str, str]
    test: Mapping[str, str]
    unlabelled_test: Sequence[str]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def class_names(self) -> list[str]:
        return sorted(set(self.train.values()))


def read_class_folders(source: Path, out: Path | None = None) -> ClassFolders:
    """Looks through `source`. Damaged files and all that is no picture are left out, and counted in `notes`.

    out: the folder of the result; it may lie in `source`, and is no class of it.
    Raises a UserError where the folders cannot be classes: pictures outside of them, no picture at all, classes in val
    or test that train lacks, `val` or `test` beside folders of classes, names that are not UTF-8.
    """
    files = image_files(source)
    _require_text(source, files.pictures)
    pictures = _without_output(source, files.pictures, out)
    if not pictures:
        told = f" {files.told()}." if files.told() else ""
        raise UserError(f"{source} holds no picture.{told} {_EXPECTED} Read are: {NAMES_READ}.")
    above = _folders_around(pictures)
    parts, notes = _parts(source, above, pictures)
    if not parts:
        parts = {TRAIN: above}
    reader = _Reader(source, pictures)
    train = reader.classes(parts[TRAIN])
    val = reader.classes(parts[VAL]) if VAL in parts else {}
    test, unlabelled = reader.test(parts[TEST]) if TEST in parts else ({}, [])
    for part, found in ((VAL, val), (TEST, test)):
        if found:
            _require_known(source / parts[part], found, source / parts[TRAIN], train)
    left_out = files.told()
    return ClassFolders(
        source=source,
        files=files,
        train=train,
        val=val,
        test=test,
        unlabelled_test=unlabelled,
        notes=(
            *([_told_around(above, parts)] if above else []),
            *notes,
            *([left_out] if left_out else []),
            *_empty(source, parts, [*train, *val, *test, *unlabelled], out),
            *_nested(parts[TRAIN], train),
        ),
        warnings=tuple(_doubts(train)),
    )


def _without_output(source: Path, pictures: Sequence[str], out: Path | None) -> Sequence[str]:
    """The pictures, none of which may lie in the folder of the result."""
    base = os.path.realpath(source)
    place = os.path.realpath(out) if out is not None else base
    if place == base or not is_under(place, base):
        return pictures
    inside = [path for path in pictures if is_under(os.path.join(base, path), place)]
    if inside:
        raise UserError(
            f"--out {out} lies in --source {source} and has {len(inside):,} pictures, such as {inside[0]}: they would"
            " be read as a class. Give another --out."
        )
    return pictures


def _require_text(source: Path, pictures: Iterable[str]) -> None:
    strange = [path for path in pictures if has_other_bytes(path)]
    if strange:
        some = ", ".join(repr(path) for path in strange[:5])
        raise UserError(
            f"{source}: {len(strange):,} pictures have names that annotations cannot hold: {some}. A file name must be"
            " UTF-8; rename them, for instance with `convmv -r -f latin1 -t utf8 --notest`."
        )


def _folders_around(pictures: Sequence[str]) -> str:
    """The folders that all pictures share above those of their classes, as `photos/2024/`; mostly empty."""
    above = ""
    while True:
        tops = {path[len(above) :].partition("/")[0] for path in pictures}
        if len(tops) != 1:
            return above
        inner = f"{above}{tops.pop()}/"
        if _part(inner[len(above) : -1]) or any("/" not in path[len(inner) :] for path in pictures):
            return above
        above = inner


def _told_around(above: str, parts: Mapping[str, str]) -> str:
    """parts: the folder of each, as `photos/2024/Valid/`."""
    if list(parts.values()) == [above]:
        return f"all pictures lie in {above}, so its folders are the classes"
    named = [folder.removeprefix(above).rstrip("/") for folder in parts.values()]
    return f"all pictures lie in {above}, and the classes in its {' and '.join(named)}"


def _part(name: str) -> str | None:
    """The part of the data that a folder is named as; None for any other name."""
    found = _PART_NAME.fullmatch(name.lower())
    return _PARTS[found[1]] if found else None


def _parts(source: Path, above: str, pictures: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Part -> its folder, as `Valid/`; empty where the folders are classes. And what to tell about it."""
    numbers: dict[str, int] = defaultdict(int)
    for path in pictures:
        top, slash, _ = path[len(above) :].partition("/")
        numbers[top if slash else ""] += 1
    folders = {top: part for top in sorted(numbers) if (part := _part(top))}
    others = [top for top in sorted(numbers) if top not in folders]
    found = set(folders.values())
    if not folders:
        return {}, []
    if TRAIN in found and (len(found) > 1 or not others):
        double = sorted(top for top, part in folders.items() if list(folders.values()).count(part) > 1)
        if double:
            raise UserError(f"{source / above} has {' and '.join(double)}, which are the same part; join them.")
        beside = sum(numbers[top] for top in others)
        told = f"left out: {counted(beside, 'picture')} beside {', '.join(folders)}" if beside else ""
        return {part: f"{above}{top}/" for top, part in folders.items()}, [told] if told else []
    if TRAIN in found and not _hold_folders(folders, above, pictures):
        named = " and ".join(folders)
        what = "is a class, because it stands" if len(folders) == 1 else "are classes, because they stand"
        return {}, [f"{named} {what} beside other classes and neither val nor test does"]
    if others:
        classes = ", ".join(top or "pictures without a folder" for top in others[:3])
        raise UserError(
            f"{source / above} has {', '.join(folders)} beside {classes}: a part of the data, or a class? Move the"
            f" folders of the classes into train/; or, if it is a class, rename it. {_EXPECTED}"
        )
    raise UserError(f"{source / above} has {', '.join(folders)} and no train/ with pictures. {_EXPECTED}")


def _hold_folders(tops: Iterable[str], above: str, pictures: Sequence[str]) -> bool:
    """Whether every picture of these folders lies in a subfolder, as in train/, where each class has a subfolder."""
    starts = tuple(f"{above}{top}/" for top in tops)
    return all("/" in path[len(above) :].split("/", 1)[1] for path in pictures if path.startswith(starts))


@dataclass(frozen=True)
class _Reader:
    source: Path
    pictures: Sequence[str]

    def classes(self, part: str) -> dict[str, str]:
        """The class of each picture below `part`. Names are in the composed form of Unicode, whatever the disk has."""
        paths = [path for path in self.pictures if path.startswith(part)]
        loose = [path for path in paths if "/" not in path[len(part) :]]
        if loose:
            raise UserError(
                f"{self.source / part} holds {counted(len(loose), 'image')} outside any class folder, such as"
                f" {loose[0]}. Each image must lie in the folder of its class: <class>/<picture>."
            )
        folders: dict[str, set[str]] = defaultdict(set)
        found: dict[str, str] = {}
        for path in paths:
            folder = path[len(part) :].partition("/")[0]
            found[path] = unicodedata.normalize("NFC", folder)
            folders[found[path]].add(folder)
        double = [name for name, spelled in folders.items() if len(spelled) > 1]
        if double:
            raise UserError(
                f"{self.source / part} has two folders {double[0]}, whose names look the same and have other bytes"
                " (composed and decomposed letters of Unicode). Join the two, or rename one."
            )
        return found

    def test(self, part: str) -> tuple[dict[str, str], list[str]]:
        """The class of each test picture; where no picture lies in a folder of a class, the pictures alone."""
        paths = [path for path in self.pictures if path.startswith(part)]
        if all("/" not in path[len(part) :] for path in paths):
            return {}, paths
        return self.classes(part), []


def _require_known(where: Path, found: Mapping[str, str], train_folder: Path, train: Mapping[str, str]) -> None:
    names = set(train.values())
    unknown = sorted(set(found.values()) - names)
    if not unknown:
        return
    alike = {folded(name): name for name in names}
    close = [f"{name} (train has {alike[folded(name)]})" for name in unknown if folded(name) in alike]
    hint = f" Other spellings: {in_line(close, _NUM_SHOWN)}." if close else ""
    raise UserError(
        f"{where} has {counted(len(unknown), 'class')} that {train_folder} has no image of:"
        f" {in_line(unknown, _NUM_SHOWN)}.{hint} Rename these folders or remove them."
    )


def _empty(source: Path, parts: Mapping[str, str], found: Iterable[str], out: Path | None) -> list[str]:
    """Notes on the folders of parts and classes that have no picture. found: the pictures that were taken."""
    output = os.path.realpath(out) if out is not None else ""
    within = {path[: path.rfind("/") + 1] for path in found}
    used = {folder[: end + 1] for folder in within for end, letter in enumerate(folder) if letter == "/"}
    above = {os.path.dirname(folder[:-1]) for folder in parts.values() if folder}
    notes = []
    for place in sorted({*above, *(folder.rstrip("/") for part, folder in parts.items() if part != TEST)}):
        empty = [
            entry.name
            for entry in _folders(source / place)
            if f"{place}/{entry.name}/".lstrip("/") not in used and not _leads_to(entry.path, output)
        ]
        if empty:
            shown = ", ".join(empty[:_NUM_SHOWN])
            notes.append(
                f"no image in {counted(len(empty), 'folder')}, which {are(len(empty))} no class therefore: {shown}"
            )
    return notes


def _leads_to(folder: str, output: str) -> bool:
    real = os.path.realpath(folder)
    return output == real or is_under(output, real)


def _folders(place: Path) -> list[os.DirEntry[str]]:
    with os.scandir(place) as entries:
        found = [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    return sorted((entry for entry in found if entry.name.lower() not in SKIPPED_FOLDERS), key=lambda one: one.name)


def _nested(part: str, train: Mapping[str, str]) -> list[str]:
    """A note where pictures of a class lie in different folders."""
    folders: dict[str, set[str]] = defaultdict(set)
    for path, name in train.items():
        folders[name].add(path[len(part) : path.rfind("/") + 1])
    deeper = sorted(name for name, inner in folders.items() if len(inner) > 1)
    if not deeper:
        return []
    examples = ", ".join(sorted(folders[deeper[0]])[1:3])
    return [
        f"{counted(len(deeper), 'class')} with folders within the folder, as {examples}: the class is the first folder,"
        f" {deeper[0]}"
    ]


def _doubts(train: Mapping[str, str]) -> list[str]:
    """What is likely a mistake: a single class, and classes whose names hardly differ."""
    names = sorted(set(train.values()))
    if len(names) == 1:
        return [f"there is one class, {names[0]}, so that nothing can be told apart. {_EXPECTED}"]
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[folded(name)].append(name)
    return [
        f"the classes {' and '.join(map(repr, same))} differ by capital letters or blanks alone; are they one?"
        for same in alike.values()
        if len(same) > 1
    ]
