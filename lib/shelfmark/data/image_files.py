"""The pictures in a folder, known by their content, and what else lies there, by the reason why it is left out."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from shelfmark.core.errors import UserError
from shelfmark.core.log import remark
from shelfmark.core.text_safety import printable
from shelfmark.core.wording import counted
from shelfmark.data.file_threads import looked_at
from shelfmark.data.image_kinds import CAMERA_RAW, HEAD_BYTES, NAMES_READ, is_camera_raw, kind_of

NAMED_AS_PICTURES = (
    *(".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif"),
)
"""A file with such an ending that is no picture is damaged, and is told as damaged; other files are not."""
SKIPPED_FOLDERS = (
    *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "lost+found", "__macosx"),
    *("$recycle.bin", "recycler", "system volume information", "network trash folder", "__pycache__"),
)
"""Folders that systems, archives and network disks put beside pictures, in small letters."""

_MADE_BY_RUNS = (frozenset({"config.yaml", "environment.json"}), frozenset({"tau_norm.csv"}))
"""Files by which the folder of a run is known, in which plots lie: `log/` may stand among the pictures."""

NOT_A_PICTURE = "not a picture"
HIDDEN = "hidden file"
HIDDEN_FOLDER = "hidden folder"
SYSTEM_FOLDER = "folder of a system"
OWN_FOLDER = "folder of a run"
EMPTY = "empty file"
_MISSING, _NO_PERMISSION, _NOT_REGULAR = "link to nothing", "no permission", "not a regular file"
_PLURAL = {
    NOT_A_PICTURE: "not pictures",
    HIDDEN: "hidden files",
    HIDDEN_FOLDER: "hidden folders",
    SYSTEM_FOLDER: "folders of a system",
    OWN_FOLDER: "folders of runs",
    EMPTY: "empty files",
    _MISSING: "links to nothing",
    _NOT_REGULAR: "not regular files",
}


@dataclass(frozen=True)
class ImageFiles:
    """The files of a folder. Paths are relative to it, with forward slashes, and sorted.

    pictures: files whose first bytes are those of a picture that can be read here.
    damaged: reason -> files that are named as pictures, and hold none: empty ones, pages of a failed download.
    left_out: reason -> all other files, and the folders that were not looked into.
    """

    folder: Path
    pictures: Sequence[str]
    damaged: Mapping[str, Sequence[str]]
    left_out: Mapping[str, Sequence[str]]

    @property
    def with_damaged(self) -> list[str]:
        """The pictures, and the damaged files among them: what a command answers one by one, with an error or not."""
        return sorted(chain(self.pictures, *self.damaged.values()))

    def told(self, damaged_too: bool = True) -> str:
        """One line: how many files are left out, by reason, each with an example. Empty where none is.

        damaged_too: whether the damaged files are left out as well.
        """
        groups = [*(self.damaged.items() if damaged_too else ()), *self.left_out.items()]
        if not groups:
            return ""
        parts = [_group(reason, paths) for reason, paths in sorted(groups, key=lambda group: -len(group[1]))]
        pictures = len(self.pictures) + (0 if damaged_too else sum(map(len, self.damaged.values())))
        return f"{self.folder}: {counted(pictures, 'picture')}; left out: {'; '.join(parts)}"


def image_files(folder: Path) -> ImageFiles:
    """Looks through `folder` and below. Links are followed; a folder that links reach twice is listed once.

    Hidden files and folders (`.name`), those of SKIPPED_FOLDERS and those of runs are left out. Of every other file a
    few bytes are read. Raises a UserError where `folder` is none, or a folder in it cannot be listed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder.")
    walk = _Walk(os.fspath(folder))
    names = list(walk.files())
    reasons = looked_at(partial(_reasons, os.fspath(folder)), names)
    pictures: list[str] = []
    damaged: dict[str, list[str]] = {}
    left_out: dict[str, list[str]] = walk.left_out
    for name, (reason, is_damaged) in zip(names, reasons):
        group = (damaged if is_damaged else left_out).setdefault(reason, []) if reason else pictures
        group.append(name)
    for group in (pictures, *damaged.values(), *left_out.values()):
        group.sort()
    return ImageFiles(folder, pictures, damaged, left_out)


def require_some(files: ImageFiles, pictures: Sequence[str]) -> None:
    """Raises a UserError where `pictures`, those of `files` that a command takes, are none."""
    if pictures:
        return
    told = files.told()
    found = f" {told}." if told else ""
    raise UserError(
        f"{files.folder} holds no photograph, nor does a folder in it.{found} Photographs are known by their"
        f" content: {NAMES_READ}."
    )


def tell_left_out(files: ImageFiles) -> None:
    """One line, on standard error, about the files that a command leaves out which answers the damaged ones too."""
    told = files.told(damaged_too=False)
    if told:
        remark(told)


def image_paths(folder: Path) -> list[str]:
    """The pictures of `image_files`, with the damaged ones: whoever reads them says what is wrong with them."""
    return image_files(folder).with_damaged


class _Walk:
    """Lists the files of a folder and below; `left_out` has those that need no look inside."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.left_out: dict[str, list[str]] = {}
        self._seen: set[str] = set()

    def files(self) -> Iterator[str]:
        for parent, folders, names in os.walk(self.folder, followlinks=True, onerror=_cannot_list):
            real = os.path.realpath(parent)
            if real in self._seen:
                folders.clear()
                continue
            self._seen.add(real)
            above = "" if parent == self.folder else f"{os.path.relpath(parent, self.folder)}/"
            if above and any(made <= set(names) for made in _MADE_BY_RUNS):
                self.left_out.setdefault(OWN_FOLDER, []).append(above)
                folders.clear()
                continue
            folders[:] = [name for name in sorted(folders) if self._is_entered(above, name)]
            for name in names:
                if name.startswith("."):
                    self.left_out.setdefault(HIDDEN, []).append(above + name)
                else:
                    yield above + name

    def _is_entered(self, above: str, name: str) -> bool:
        if name.startswith("."):
            reason = HIDDEN_FOLDER
        elif name.lower() in SKIPPED_FOLDERS:
            reason = SYSTEM_FOLDER
        else:
            return True
        self.left_out.setdefault(reason, []).append(f"{above}{name}/")
        return False


class _Look(NamedTuple):
    """Why a file is left out, empty for a picture; and whether its name says that it is a picture."""

    reason: str
    is_damaged: bool = False


_PICTURE = _Look("")


def _reasons(folder: str, names: Iterable[str]) -> list[_Look]:
    return [_look(folder, name) for name in names]


def _look(folder: str, name: str) -> _Look:
    is_named = name.lower().endswith(NAMED_AS_PICTURES)
    try:
        # Without O_NONBLOCK the opening of a pipe waits for a writer.
        descriptor = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        return _Look(_MISSING, is_named)
    except PermissionError:
        return _Look(_NO_PERMISSION, is_named)
    except OSError:
        # A socket cannot be opened at all.
        return _Look(_NOT_REGULAR if os.path.exists(os.path.join(folder, name)) else _MISSING, is_named)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return _Look(_NOT_REGULAR, is_named)
        read_at = partial(os.pread, descriptor)
        head = read_at(HEAD_BYTES, 0)
        return _of_head(head, read_at, is_named) if head else _Look(EMPTY, is_named)
    except OSError as error:
        return _Look(f"the system says: {error.strerror}", is_named)
    finally:
        os.close(descriptor)


def _of_head(head: bytes, read_at: Callable[[int, int], bytes], is_named: bool) -> _Look:
    kind = kind_of(head)
    if kind is None:
        return _Look(NOT_A_PICTURE, is_named)
    if kind.name == "TIFF" and is_camera_raw(read_at):
        kind = CAMERA_RAW
    return _Look(kind.why_not) if kind.why_not else _PICTURE


def _group(reason: str, paths: Sequence[str]) -> str:
    words = reason if len(paths) == 1 else _PLURAL.get(reason, reason)
    return f"{len(paths):,} {words} ({printable(paths[0], one_line=True)}{', ...' if len(paths) > 1 else ''})"


def _cannot_list(error: OSError) -> None:
    raise UserError(f"{error.filename} cannot be listed: {error.strerror}.") from error
