"""What a converter leaves behind: annotation files, and how to point a run at them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shelfmark.core.errors import UserError
from shelfmark.core.files import atomic_path


@dataclass(frozen=True)
class Prepared:
    """files: each annotation file and what it holds. options: what a run's config has to say to use them.

    notes: what the user should know about this copy of the data.
    """

    files: Mapping[Path, str]
    options: Mapping[str, Path | str]
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The lines to print: files, notes, and the options to copy."""
        lines = [f"wrote {path}: {content}" for path, content in self.files.items()]
        lines += [f"note: {note}" for note in self.notes]
        options = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in self.options.items())
        return "\n".join([*lines, f"Use it with: {options}"])


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
    """Writes each file whole or not at all; replaces none, and writes none where one would have to be replaced."""
    refuse_to_replace(contents)
    for path, content in contents.items():
        if not path.exists():
            with atomic_path(path) as beside:
                beside.write_bytes(content)
