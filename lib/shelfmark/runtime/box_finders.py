"""Where the boxes of a shelf photograph come from: a file that lists them, or a detector.

Legend: n boxes, H x W pixels.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.core.wording import counted
from shelfmark.data.annotations import read_annotations, read_test_set
from shelfmark.data.boxes import has_box
from shelfmark.data.identity import identities

_LEAST_PX = 1.0
_NAMED = 5
"""Folders that an error names."""
DETECTS = "detect(image) -> boxes, scores"


class FoundBoxes(NamedTuple):
    """boxes: (n, 4) float32, x, y, width and height in pixels of the upright picture. scores: (n,), None without."""

    boxes: np.ndarray
    scores: np.ndarray | None = None


class BoxFinder(Protocol):
    """Finds the boxes of a photograph."""

    def find(self, photo: Path, pixels: np.ndarray) -> FoundBoxes:
        """pixels: (H, W, 3) uint8 RGB, upright."""
        ...


@dataclass(frozen=True, eq=False)
class ListedBoxes:
    """boxes: of each photograph, (n, 4), by `identity` of its path. The pixels are not asked for.

    file: that lists them. folders: where its paths may start. example: one of its paths, as it is written there.
    """

    boxes: Mapping[str, np.ndarray]
    file: Path
    folders: Sequence[str]
    example: str

    @classmethod
    def of(cls, file: Path, places: Sequence[Path], root: str | None = None) -> ListedBoxes:
        """Those of an annotation file, or of a test set. Labels are not looked at.

        places: the photographs and folders that are asked about. root: the folder where the paths in the file start.
        Without one a path starts at such a folder, at the folder of such a photograph, at that of the file, or at the
        working folder. UserError: no record has a box.
        """
        is_test = b'"annotations"' not in file.read_bytes()
        # With the whole disk as its root, any path may stand in the file.
        read = read_test_set if is_test else read_annotations
        table = read(file, Path("/"), check_files=False)
        rows = defaultdict(list)
        if table.boxes is not None:
            for row in np.flatnonzero(has_box(table.boxes)).tolist():
                rows[table.paths[row]].append(row)
        if table.boxes is None or not rows:
            raise UserError(
                f"{file} has no box. Each record needs one, as bbox: [x, y, width, height] in pixels of the upright"
                " photograph."
            )
        folders = _folders(file, places) if root is None else [root]
        found: dict[str, np.ndarray] = {}
        for folder in folders:
            for path, identity in zip(rows, identities(rows, Path(folder))):
                found.setdefault(identity, table.boxes[rows[path]])
        return cls(found, file, folders, next(iter(rows)))

    def asked(self, photos: Sequence[Path]) -> list[Path]:
        """The photographs that have boxes; a line tells how many have none. UserError: none has any."""
        having = [photo for photo in photos if _identity(photo) in self.boxes]
        if not having:
            tried = [one if os.path.isdir(one) else f"{one} (there is no such folder)" for one in self.folders[:_NAMED]]
            more = f" and {len(self.folders) - _NAMED:,} more" if len(self.folders) > _NAMED else ""
            raise UserError(
                f"{self.file} has no box of {photos[0]}{' or the others' if len(photos) > 1 else ''}. It has paths such"
                f" as {self.example}; tried as their folder: {', '.join(tried)}{more}. If they start at another one,"
                " add data.root=FOLDER."
            )
        if len(having) < len(photos):
            without = counted(len(photos) - len(having), "photograph")
            say(f"note: {without} without a box in {self.file}, left out")
        return having

    def find(self, photo: Path, pixels: np.ndarray) -> FoundBoxes:
        return FoundBoxes(self.boxes[_identity(photo)])


@dataclass(frozen=True, eq=False)
class Detector:
    """A plug-in: a function `detect(image) -> boxes, scores`.

    image: (H, W, 3) uint8 RGB, upright. boxes: (n, 4) x, y, width, height in its pixels. scores: (n,) 0 to 1. Boxes end
    at the edge of the picture; those below `min_score`, and those with less than a pixel inside, are left out.
    """

    name: str
    detect: Callable[[np.ndarray], Any]
    min_score: float = 0.5

    @classmethod
    def of(cls, entry_point: str, min_score: float = 0.5) -> Detector:
        """The function that `package.module:name` names; a module in the working folder is found too.

        UserError: there is no such module or function.
        """
        module_name, colon, name = entry_point.partition(":")
        if not colon or not module_name or not name:
            raise UserError(f"--detector {entry_point}: give a Python function as package.module:name, {DETECTS}.")
        if not 0 <= min_score <= 1:
            raise UserError(f"--min-score {min_score:g} must lie in 0..1: boxes of lower scores are left out.")
        try:
            with _working_folder_importable():
                found: Any = importlib.import_module(module_name)
        except Exception as error:  # a plug-in may fail in any way as it is imported
            told = f"{type(error).__name__}: {error}"
            raise UserError(
                f"--detector {entry_point}: the module {module_name} cannot be imported ({told}). It must be installed,"
                " or lie in the working folder."
            ) from error
        for part in name.split("."):
            found = getattr(found, part, None)
        if not callable(found):
            raise UserError(f"--detector {entry_point}: {module_name} has no function {name}; it must be {DETECTS}.")
        return cls(entry_point, found, min_score)

    def find(self, photo: Path, pixels: np.ndarray) -> FoundBoxes:
        try:
            found = self.detect(pixels)
        except Exception as error:
            raise UserError(f"--detector {self.name} failed on {photo}: {type(error).__name__}: {error}") from error
        boxes, scores = self._checked(photo, found)
        height, width = pixels.shape[:2]
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        corners = corners.clip(0, np.array([width, height, width, height]))
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        kept = (scores >= self.min_score) & (boxes[:, 2:] >= _LEAST_PX).all(axis=1)
        return FoundBoxes(boxes[kept].astype(np.float32), scores[kept])

    def _checked(self, photo: Path, found: Any) -> tuple[np.ndarray, np.ndarray]:
        try:
            boxes, scores = (np.asarray(one, dtype=np.float64) for one in found)
        except (TypeError, ValueError) as error:
            raise UserError(f"--detector {self.name} must be {DETECTS}; on {photo}: {error}.") from None
        boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
        if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != (len(boxes),):
            raise UserError(
                f"--detector {self.name} gave boxes of {boxes.shape} and scores of {scores.shape} for {photo}; wanted"
                " (n, 4) of x, y, width, height, and (n,)."
            )
        if not np.isfinite(boxes).all() or not np.isfinite(scores).all():
            raise UserError(f"--detector {self.name} gave NaN or infinity for {photo}.")
        return boxes, scores


class _working_folder_importable:  # noqa: N801
    """A block in which modules of the working folder can be imported, behind all others."""

    def __enter__(self) -> None:
        self.place = os.getcwd()
        sys.path.append(self.place)

    def __exit__(self, *_: object) -> None:
        sys.path.remove(self.place)


def _identity(photo: Path) -> str:
    return next(iter(identities([str(photo)], Path())))


def _folders(file: Path, places: Sequence[Path]) -> list[str]:
    """Where the paths in the file may start, absolute: an outer folder before those in it."""
    found = (file.parent, Path.cwd(), *(place if place.is_dir() else place.parent for place in places))
    return sorted(set(map(os.path.abspath, found)))
