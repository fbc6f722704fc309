"""Where the annotations and recipes of a user's folder of pictures stand: `dataset/<name>`, never among the pictures.

The folder has train.json, val.json, test.json where there is one, the record of `shelfmark prepare folder`, and one
recipe for each run. When pictures come or go, the next folder of the same pictures is made beside it, and takes over
the division: files that a trained model was made from stay as they are.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from shelfmark.core.destinations import require_place
from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json, write_text
from shelfmark.core.folders import atomic_folder
from shelfmark.data.converters.earlier_folder import RECORD, EarlierFolder
from shelfmark.data.identity import is_under

DATASETS = Path("dataset")
VAL_FRACTION, SEED = 0.2, 0
_MAX_CHARS = 80
_GIVEN = "source_from_here"
"""In the record: the path of the pictures from the working folder."""


@dataclass(frozen=True)
class ImageHome:
    """folder: of the annotations. parts: path of a picture -> `train` or `val`, as the folder divides them."""

    folder: Path
    parts: Mapping[str, str]

    @property
    def name(self) -> str:
        """Name of the folder, and of the first run."""
        return self.folder.name

    def recipe_of(self, run: str) -> Path:
        """The file of a run's recipe."""
        return self.folder / f"{run}.yaml"

    def holds(self, contents: Mapping[str, bytes]) -> bool:
        """Whether the annotation files have just these contents, by their names."""
        names = {file.name for file in self.folder.glob("*.json")} - {RECORD}
        return names == set(contents) and all((self.folder / name).read_bytes() == contents[name] for name in names)


def homes_of(source: Path) -> list[ImageHome]:
    """The folders in `dataset/` that were made of the pictures in `source`, the newest last."""
    found = [file.parent for file in DATASETS.glob(f"*/{RECORD}") if _is_of(file, source)]
    found.sort(key=lambda folder: (os.stat(folder / RECORD).st_mtime_ns, folder.name))
    return [ImageHome(folder, EarlierFolder(folder, {}, {"files": {}}).parts()) for folder in found]


def free_name(source: Path, log_root: Path) -> str:
    """A name, made of that of `source`, that neither a folder in `dataset/` nor one of runs has."""
    name = run_name(source)
    for candidate in _numbered(name):
        if not any(os.path.lexists(place / candidate) for place in (DATASETS, log_root)):
            return candidate
    raise AssertionError("there is always a next number")


def run_name(source: Path) -> str:
    """The last part of a path in the letters that the name of a run may have."""
    name = os.path.basename(os.path.realpath(source))
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    kept = re.sub(r"[^A-Za-z0-9._-]+", "_", plain).strip("._-")[:_MAX_CHARS]
    # `findings` is the folder of lists of findings.
    return kept if kept and kept != "findings" else "photographs"


def require_places(source: Path, log_root: Path) -> None:
    """Raises a UserError where no result could be written, or would be written among the pictures."""
    real = os.path.realpath(source)
    for place in (DATASETS, log_root):
        where = os.path.realpath(place)
        if where == real or is_under(where, real):
            elsewhere = f", such as {Path(real).parent}" if real != os.path.dirname(real) else ""
            raise UserError(
                f"{place.absolute()} lies in {source}, so results would be written among the pictures. Start the"
                f" command in another folder{elsewhere}; --images names the pictures alone."
            )
        require_place(place / run_name(source), "the place of results", is_folder=True)


def write_home(
    home: ImageHome, source: Path, contents: Mapping[str, bytes], recipe: Mapping[Path, str], drawn: bool
) -> None:
    """Makes the folder with the annotation files, their record and the recipe, whole or not at all.

    contents: the annotation files, by name. recipe: the text of its file. drawn: whether the division was drawn; then
    the record says how, as that of `shelfmark prepare folder` does.
    """
    options = {"val_fraction": VAL_FRACTION, "seed": SEED} if drawn else {}
    facts = {"layout": "folder", "source": os.path.realpath(source), _GIVEN: os.path.relpath(source), **options}
    with atomic_folder(home.folder) as made:
        EarlierFolder(made, facts, {}).write({made / name: content for name, content in contents.items()})
        for file, text in recipe.items():
            write_text(made / file.name, text)


def _is_of(file: Path, source: Path) -> bool:
    try:
        record = read_json(file)
    except UserError:
        return False
    if not isinstance(record, dict) or record.get("layout") != "folder" or not isinstance(record.get("source"), str):
        return False
    if record["source"] == os.path.realpath(source):
        return True
    # The working folder was moved or renamed, and the pictures in it.
    return record.get(_GIVEN) == os.path.relpath(source) and not os.path.lexists(record["source"])


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}_{number}"
        number += 1
