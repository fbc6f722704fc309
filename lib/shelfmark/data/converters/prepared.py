"""The result of a converter: annotation files, and the options that make a run use them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shelfmark.core.disk import fsync_folder, fsync_tree, make_folders
from shelfmark.core.errors import UserError
from shelfmark.core.files import atomic_path
from shelfmark.core.places import work_place
from shelfmark.core.write_errors import write_errors_told


@dataclass(frozen=True)
class Prepared:
    """files: each annotation file, with words on its content. options: of a run's config, to use the files.

    notes: what the user should know about this copy of the data. warnings: what is likely a mistake in it.
    """

    files: Mapping[Path, str]
    options: Mapping[str, Path | str]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """The lines to print on what was made: files, notes and warnings."""
        lines = [f"wrote {path}: {content}" for path, content in self.files.items()]
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)

    @property
    def summary(self) -> str:
        """As `told`, with the options to copy."""
        options = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in self.options.items())
        return f"{self.told}\nUse it with: {options}"


def existing_folder(source: Path) -> Path:
    """`source`, or a UserError if it is not a folder."""
    if not source.is_dir():
        raise UserError(f"--source {source} is not a folder.")
    return source


def refuse_to_replace(contents: Mapping[Path, bytes]) -> None:
    """Raises a UserError that names the files which exist with other contents."""
    different = [path for path, content in contents.items() if path.exists() and path.read_bytes() != content]
    if different:
        names = ", ".join(map(str, different))
        raise UserError(
            f"{names}: there already, with other contents. Delete them if they are not needed, or give another --out."
        )


def write_new(contents: Mapping[Path, bytes]) -> None:
    """Writes each file whole or not at all. Replaces no file: if one exists with other contents, none is written."""
    refuse_to_replace(contents)
    for path, content in contents.items():
        if not path.exists():
            with atomic_path(path) as beside:
                beside.write_bytes(content)


@contextmanager
def new_pictures(out: Path) -> Iterator[Callable[[Path], Path]]:
    """Yields a function: the place of a picture in `out` -> the path to write the picture to now.

    At the end all pictures are moved to their places, safe on the disk. On an error none is, and nothing is left.
    """
    written: dict[Path, Path] = {}
    with write_errors_told(out), work_place(out / "pictures") as place:
        place.made.mkdir()

        def place_for(target: Path) -> Path:
            # The name's ending says the format.
            return written.setdefault(target, place.made / f"{len(written)}{target.suffix}")

        yield place_for
        fsync_tree(place.made)
        for folder in dict.fromkeys(target.parent for target in written):
            make_folders(folder)
        for target, source in written.items():
            os.replace(source, target)
        for folder in dict.fromkeys(target.parent for target in written):
            fsync_folder(folder)
