"""A user's folder of pictures, read and divided into train and val: the first step of `shelfmark train --images`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from shelfmark.core.contracts import BadImage
from shelfmark.core.errors import UserError
from shelfmark.core.log import say, warn
from shelfmark.core.text_safety import in_line
from shelfmark.core.wording import are, counted
from shelfmark.data.bad_images import first_told, reasons_told
from shelfmark.data.checked_images import CheckedImages, image_keys
from shelfmark.data.class_folders import ClassFolders, read_class_folders
from shelfmark.data.converters.folder import annotation_files, copy_notes, divided, unvalidated_note
from shelfmark.data.identity import identities
from shelfmark.data.image_scan import unreadable_images
from shelfmark.data.options import DataOptions
from shelfmark.data.same_files import same_files
from shelfmark.runtime.image_home import SEED, VAL_FRACTION

_FEW = 1000


@dataclass(frozen=True)
class Division:
    """folders: with a val part, and of readable pictures alone. is_drawn: whether val was drawn here, and is no folder
    of the user's. unreadable: with their absolute paths, those that are left out. readable_keys: of the others, as
    `CheckedImages` remembers them."""

    folders: ClassFolders
    is_drawn: bool
    unreadable: tuple[BadImage, ...]
    readable_keys: np.ndarray

    def remember(self, log_root: Path) -> None:
        """Spares the run a second look at the pictures."""
        CheckedImages.of(log_root, self.folders.source).add(self.readable_keys)

    @property
    def contents(self) -> dict[str, bytes]:
        """The annotation files, by name."""
        return {file.name: content for file, content in annotation_files(self.folders, Path()).items()}

    @property
    def pictures(self) -> list[str]:
        """Paths of the training and validation images."""
        return [*self.folders.train, *self.folders.val]

    @property
    def counts(self) -> tuple[int, ...]:
        """Training images of each class, by its number."""
        found = Counter(self.folders.train.values())
        return tuple(found[name] for name in self.folders.class_names)


def divided_pictures(images: Path, before: Mapping[str, str], data: DataOptions, log_root: Path) -> Division:
    """Every picture is decoded, unless log_root remembers that it was. Says what it found, too.

    before: path -> `train` or `val`, in an earlier division, which holds.
    Raises a UserError where `images` has no pictures, or not two classes of them, or none is left for validation.
    """
    folders, unreadable, keys = _readable(read_class_folders(images), data, log_root)
    if len(folders.class_names) < 2:
        raise UserError(
            f"{images} has one class, {in_line(folders.class_names)}: there is nothing to tell apart. Put the pictures"
            " of each class into a folder of its own: <class>/<picture>."
        )
    copies = same_files(images, [*folders.train, *folders.val])
    is_drawn = not folders.val
    if is_drawn:
        folders = divided(folders, VAL_FRACTION, SEED, before, copies)
    division = Division(folders, is_drawn, tuple(unreadable), keys)
    _tell(division, [*folders.notes, *copy_notes(folders, copies)])
    return division


def told_changes(division: Division, before: Mapping[str, str], earlier: Path) -> str:
    """What came and went since the division in the folder `earlier`."""
    now = set(division.pictures)
    came, went = len(now - before.keys()), len(before.keys() - now)
    lost = f"{went:,}" if came else counted(went, "picture")
    changes = [f"{counted(came, 'picture')} {are(came)} new"] * bool(came) + [f"{lost} {are(went)} gone"] * bool(went)
    where = " and ".join(changes) or "the annotations differ"
    kept = "; pictures that were there stay in their part" if division.is_drawn else ""
    return f"since {earlier}: {where}{kept}"


def _readable(
    folders: ClassFolders, data: DataOptions, log_root: Path
) -> tuple[ClassFolders, list[BadImage], np.ndarray]:
    """The folders without the pictures that cannot be decoded, those, and the keys of all others."""
    names = [*folders.train, *folders.val, *folders.test, *folders.unlabelled_test]
    paths = list(identities(names, folders.source))
    limits = (data.max_image_bytes, data.max_image_pixels)
    keys = image_keys(paths, limits)
    new = np.flatnonzero(~CheckedImages.of(log_root, folders.source).has(keys)).tolist()
    # A process that decodes would take longer to start than a thousand pictures take.
    alone = data.model_copy(update={"num_workers": 0 if len(new) <= _FEW else data.num_workers})
    bad = unreadable_images([paths[row] for row in new], alone) if new else []
    gone = {names[new[one.row]] for one in bad}
    train, val, test = (
        {path: name for path, name in part.items() if path not in gone}
        for part in (folders.train, folders.val, folders.test)
    )
    if not train:
        raise UserError(
            f"{folders.source}: none of the {len(gone):,} pictures to train on can be read ({reasons_told(bad)}), such"
            f" as {bad[0].path}."
        )
    lost = sorted({*val.values(), *test.values()} - set(train.values()))
    if lost:
        raise UserError(
            f"{folders.source}: of the class {lost[0]} no picture to train on can be read, and others are to be"
            f" tested. Repair one of them, or take the class out. {bad[0].path}: {bad[0].reason}."
        )
    unlabelled = [path for path in folders.unlabelled_test if path not in gone]
    kept = replace(folders, train=train, val=val, test=test, unlabelled_test=unlabelled)
    return kept, bad, np.delete(keys, [new[one.row] for one in bad])


def _tell(division: Division, notes: list[str]) -> None:
    folders, counts = division.folders, division.counts
    how = "drawn" if division.is_drawn else "as the folders say"
    say(
        f"{folders.source}: {counted(len(division.pictures), 'picture')} of {counted(len(counts), 'class')},"
        f" {len(folders.train):,} to train on, {len(folders.val):,} to validate ({how})"
    )
    validated = set(folders.val.values())
    for note in [*notes, *unvalidated_note([name for name in folders.class_names if name not in validated])]:
        say(f"note: {note}")
    for warning in folders.warnings:
        warn(warning)
    if bad := division.unreadable:
        warn(f"{counted(len(bad), 'picture')} cannot be read, left out ({reasons_told(bad)}):{first_told(bad)}")
