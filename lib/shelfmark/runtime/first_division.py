"""A user's folder of pictures, read and divided into train and val: the first step of `shelfmark train --images`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shelfmark.core.errors import UserError
from shelfmark.core.log import say, warn
from shelfmark.data.class_folders import ClassFolders, read_class_folders
from shelfmark.data.converters.folder import annotation_files, copy_notes, divided, unvalidated_note
from shelfmark.data.same_files import same_files
from shelfmark.runtime.image_home import SEED, VAL_FRACTION


@dataclass(frozen=True)
class Division:
    """folders: with a val part. is_drawn: whether that part was drawn here, and is not a folder of the user's."""

    folders: ClassFolders
    is_drawn: bool

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


def divided_pictures(images: Path, before: Mapping[str, str]) -> Division:
    """Says what it found, too. before: path -> `train` or `val`, in an earlier division, which holds.

    Raises a UserError where `images` has no pictures, or not two classes of them, or none is left for validation.
    """
    folders = read_class_folders(images)
    if len(folders.class_names) < 2:
        raise UserError(
            f"{images} has one class, {folders.class_names[0]}: there is nothing to tell apart. Put the pictures of"
            " each class into a folder of its own: <class>/<picture>."
        )
    copies = same_files(images, [*folders.train, *folders.val])
    is_drawn = not folders.val
    if is_drawn:
        folders = divided(folders, VAL_FRACTION, SEED, before, copies)
    division = Division(folders, is_drawn)
    _tell(division, [*folders.notes, *copy_notes(folders, copies)])
    return division


def told_changes(division: Division, before: Mapping[str, str], earlier: Path) -> str:
    """What came and went since the division in the folder `earlier`."""
    now = set(division.pictures)
    came, went = len(now - before.keys()), len(before.keys() - now)
    changes = [f"{came:,} pictures are new"] * bool(came) + [f"{went:,} are gone"] * bool(went)
    where = " and ".join(changes) or "the annotations differ"
    kept = "; pictures that were there stay in their part" if division.is_drawn else ""
    return f"since {earlier}: {where}{kept}"


def _tell(division: Division, notes: list[str]) -> None:
    folders, counts = division.folders, division.counts
    how = "drawn" if division.is_drawn else "as the folders say"
    say(
        f"{folders.source}: {len(division.pictures):,} pictures of {len(counts):,} classes,"
        f" {len(folders.train):,} to train on, {len(folders.val):,} to validate ({how})"
    )
    validated = set(folders.val.values())
    for note in [*notes, *unvalidated_note([name for name in folders.class_names if name not in validated])]:
        say(f"note: {note}")
    for warning in folders.warnings:
        warn(warning)
