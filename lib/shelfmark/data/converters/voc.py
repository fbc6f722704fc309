"""Boxes in the form of Pascal VOC (Everingham et al., IJCV 2010), as many programs for labelling write it.

    Annotations/*.xml     one file a photograph: `filename`, `size`, and an `object` with `name` and `bndbox` a box
    JPEGImages/           the photographs
    ImageSets/Main/       train.txt, val.txt, test.txt: names of photographs without their ending; may be missing

The XML files and the photographs may lie in one folder, or in `annotations/` and `images/`, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from shelfmark.core.errors import UserError
from shelfmark.core.wording import counted
from shelfmark.data.converters.boxed_set import BoxedSet, Mended, prepare_boxed
from shelfmark.data.converters.pictures import NUM_SHOWN, Picture, list_lines
from shelfmark.data.converters.plain_numbers import number_of, whole_of
from shelfmark.data.converters.prepared import Prepared, existing_folder
from shelfmark.data.converters.wrong_places import WrongPlaces
from shelfmark.data.images import upright_size
from shelfmark.data.sources.files import read_file

WHERE = (
    "Give the folder that holds Annotations/ with its XML files, JPEGImages/ with the photographs and, if there are"
    " lists of train and val, ImageSets/Main/, such as VOCdevkit/VOC2007, as --source."
)
_ANNOTATIONS, _PICTURES = ("Annotations", "annotations", "."), ("JPEGImages", "images", ".")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_MOST_PX = 1e7
_PARTS = ("train", "val", "test")


class _Photograph(NamedTuple):
    """objects: (name, corners) of each. size: width and height."""

    file: Path
    path: str
    objects: list[tuple[str, list[float]]]
    size: tuple[int, int]


def prepare_voc(source: Path, out: Path, val_fraction: float = 0.2, seed: int = 0) -> Prepared:
    """Writes train and val, and test_labelled where there is a test list, to `out`. An object is a record.

    VOC counts pixels from 1, and its corners are inside of the box; files with a corner at 0 count from 0, as programs
    for labelling do, and then their right and lower corners are the edges.
    """
    base = existing_folder(Path(source))
    folder = next((base / name for name in _ANNOTATIONS if list((base / name).glob("*.xml"))), None)
    if folder is None:
        raise UserError(f"{base} has no XML file in Annotations/, annotations/ or itself. {WHERE}")
    photographs = _photographs(base, sorted(folder.glob("*.xml")))
    from_zero = any(0 in corners for one in photographs.values() for _, corners in one.objects)
    mended = Mended()
    boxes = {name: _boxes(one, 0 if from_zero else 1, mended) for name, one in photographs.items()}
    notes = list(mended.notes())
    if from_zero:
        notes.insert(0, "some corners are at 0, so all are counted from 0, not from 1 as VOC does")
    if empty := [name for name, found in boxes.items() if not found]:
        notes.append(f"{counted(len(empty), 'photograph')} without a box, such as {empty[0]}")
    parts = _parts(base, boxes)
    return prepare_boxed(BoxedSet(base, parts, WHERE, notes=notes), Path(out), val_fraction, seed)


def _photographs(base: Path, files: Sequence[Path]) -> dict[str, _Photograph]:
    """By their names. Raises a UserError with what is wrong in all files."""
    found, wrong = dict[str, _Photograph](), WrongPlaces()
    for file in files:
        with wrong.collected():
            found[file.stem] = _photograph(base, file, wrong)
    wrong.settle(base)
    return found


def _photograph(base: Path, file: Path, wrong: WrongPlaces) -> _Photograph:
    try:
        root = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{file} is no XML: {error}.") from None
    objects = []
    for number, one in enumerate(root.iter("object"), start=1):
        with wrong.collected():
            where = f"{file}, object {number}"
            objects.append((_name(where, one), _corners(where, one)))
    path = _picture_path(base, file, root.findtext("filename") or "")
    width, height = (whole_of(root.findtext(f"size/{name}") or "") or 0 for name in ("width", "height"))
    # Some programs write no size, or 0.
    size = (width, height) if width > 0 and height > 0 else upright_size(read_file(base / path), str(base / path))
    return _Photograph(file, path, objects, size)


def _picture_path(base: Path, file: Path, filename: str) -> str:
    """The photograph that the XML file names, else that of its own name, relative to `base`."""
    names = [Path(filename.replace("\\", "/")).name] if filename.strip() else []
    for folder in _PICTURES:
        for name in (*names, *(f"{file.stem}{ending}" for ending in (".jpg", ".jpeg", ".png", ".JPG"))):
            if name and (base / folder / name).is_file():
                return name if folder == "." else f"{folder}/{name}"
    raise UserError(f"{file} is of {filename or file.stem}, which is in none of JPEGImages/, images/ and {base}.")


def _name(where: str, one: ElementTree.Element) -> str:
    name = (one.findtext("name") or "").strip()
    if not name:
        raise UserError(f"{where} has no name.")
    return name


def _corners(where: str, one: ElementTree.Element) -> list[float]:
    corners = [_number(one.findtext(f"bndbox/{name}")) for name in _CORNERS]
    if None in corners:
        texts = {name: one.findtext(f"bndbox/{name}") for name in _CORNERS}
        raise UserError(f"{where}: the bndbox of {one.findtext('name')!r} must have four numbers, not {texts}.")
    found = [float(corner) for corner in corners if corner is not None]
    if found[2] < found[0] or found[3] < found[1]:
        raise UserError(
            f"{where}: the bndbox of {one.findtext('name')!r} ends before it begins:"
            f" {', '.join(f'{name} {corner:g}' for name, corner in zip(_CORNERS, found))}. Correct it or take it out."
        )
    return found


def _number(text: str | None) -> float | None:
    value = number_of(text or "")
    return value if value is not None and abs(value) < _MOST_PX else None


def _boxes(photograph: _Photograph, first: int, mended: Mended) -> list[Picture]:
    """first: the number of the first pixel."""
    found = []
    for name, (left, upper, right, lower) in photograph.objects:
        # Counted from 1, the lower right corner is the last pixel inside, and so its own edge counted from 0.
        corners = (left - first, upper - first, right, lower)
        box = mended.box(corners, photograph.size, f"{name} in {photograph.file}")
        if box is not None:
            found.append(Picture(photograph.path, name, box=box))
    return found


def _parts(base: Path, boxes: Mapping[str, Sequence[Picture]]) -> dict[str, list[Picture]]:
    lists = base / "ImageSets" / "Main"
    files = {part: lists / f"{part}.txt" for part in _PARTS if (lists / f"{part}.txt").is_file()}
    if "train" not in files:
        return {"train": [picture for found in boxes.values() for picture in found]}
    parts: dict[str, list[Picture]] = {}
    for part, file in files.items():
        names = [line.split()[0] for line in list_lines(file, WHERE) if line.strip()]
        if missing := [name for name in names if name not in boxes]:
            number = counted(len(missing), "photograph")
            shown = ", ".join(missing[:NUM_SHOWN])
            raise UserError(f"{file} names {number} without an XML file: {shown}. {WHERE}")
        parts[part] = [picture for name in names for picture in boxes[name]]
    return parts
