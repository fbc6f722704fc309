"""Boxes in the form of YOLO's data sets (Ultralytics).

data.yaml             `names`: the classes; `path`, `train`, `val`, `test`: folders of photographs, or lists of them
images/.../NAME.jpg   the photographs
labels/.../NAME.txt   one line a box, `class x y width height`: of the centre and the sides, as shares of the picture;
                      a polygon, `class x1 y1 x2 y2 ...`, becomes the box around it
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from shelfmark.core.errors import UserError
from shelfmark.core.text_encoding import NotUtf8, utf8_text
from shelfmark.core.wording import counted
from shelfmark.data.converters.boxed_set import BoxedSet, Mended, prepare_boxed
from shelfmark.data.converters.pictures import Picture, list_lines
from shelfmark.data.converters.plain_numbers import number_of, whole_of, why_no_number
from shelfmark.data.converters.prepared import Prepared, existing_folder
from shelfmark.data.converters.wrong_places import WrongPlaces
from shelfmark.data.image_files import image_paths
from shelfmark.data.images import upright_size
from shelfmark.data.sources.files import read_file

WHERE = (
    "Give the folder that holds data.yaml, with the class names and the folders of the photographs, images/ and labels/"
    " as --source."
)
_PARTS = ("train", "val", "test")
_NOTHING = ("", "~", "null", "Null", "NULL")


def prepare_yolo(source: Path, out: Path, val_fraction: float = 0.2, seed: int = 0) -> Prepared:
    """Writes train and val, and test_labelled where data.yaml names a test, to `out`. A line of a label file is a
    record. Classes keep their numbers."""
    base = existing_folder(Path(source))
    file = _yaml_file(base)
    content = _content(file)
    names = _names(file, content)
    root = base / str(content.get("path") or "") if (base / str(content.get("path") or "")).is_dir() else base
    mended, wrong, notes, parts = Mended(), WrongPlaces(), list[str](), dict[str, list[Picture]]()
    for part in _PARTS:
        if not content.get(part):
            continue
        photographs = list(dict.fromkeys(_photographs(file, root, content[part])))
        found = {photograph: _boxes(base, photograph, names, mended, wrong) for photograph in photographs}
        parts[part] = [picture for pictures in found.values() for picture in pictures]
        if empty := [photograph for photograph, pictures in found.items() if not pictures]:
            notes.append(f"{part}: {counted(len(empty), 'photograph')} without a box, such as {empty[0]}")
    wrong.settle(base, notes=mended.notes())
    if not parts.get("train"):
        raise UserError(f"{file}: its `train` leads to no photograph with a label file that has a box. {WHERE}")
    dataset = BoxedSet(base, parts, WHERE, names, (*notes, *mended.notes()))
    return prepare_boxed(dataset, Path(out), val_fraction, seed)


def _yaml_file(base: Path) -> Path:
    files = [base / "data.yaml", *sorted(base.glob("*.yaml")), *sorted(base.glob("*.yml"))]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise UserError(f"{base} has no data.yaml. {WHERE}")
    return found


def _content(file: Path) -> dict[str, Any]:
    """Every value as the text that stands there: to YAML's own rules `no` is false and `0012` is ten."""
    try:
        text = utf8_text(file.read_bytes())
        root = yaml.compose(text, Loader=yaml.BaseLoader)
        content = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, NotUtf8) as error:
        raise UserError(f"{file} is no YAML: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{file} must have `names`, `train` and `val`. {WHERE}")
    for repeated in _repeated_keys(root):
        raise UserError(f"{file}, line {repeated.start_mark.line + 1}: {repeated.value!r} stands there twice.")
    return {name: value for name, value in content.items() if value not in _NOTHING}


def _repeated_keys(node: Any) -> Iterator[Any]:
    if isinstance(node, yaml.SequenceNode):
        for one in node.value:
            yield from _repeated_keys(one)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                yield key
            seen.add(str(key.value))
            yield from _repeated_keys(value)


def _names(file: Path, content: Mapping[str, Any]) -> list[str]:
    names = content.get("names")
    if isinstance(names, Mapping) and sorted(names) == sorted(map(str, range(len(names)))):
        names = [name for _, name in sorted(names.items(), key=lambda item: int(item[0]))]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise UserError(f"{file}: `names` must be a list of class names, or numbers from 0 with their names.")
    if len(set(names)) < len(names):
        raise UserError(f"{file}: two classes have one name; `names` must be different.")
    if (number := content.get("nc")) not in (None, str(len(names))):
        raise UserError(
            f"{file}: `nc` is {number}, but `names` has {counted(len(names), 'class')}. Correct one of the two."
        )
    return names


def _photographs(file: Path, root: Path, given: Any) -> Iterator[Path]:
    """The photographs that an entry of data.yaml names: a folder, a text file of paths, or a list of such."""
    for one in given if isinstance(given, list) else [given]:
        # Exports of Roboflow write `../train/images` for a folder beside data.yaml.
        places = [root / str(one), file.parent / str(one), file.parent / str(one).removeprefix("../")]
        place = next((found for found in places if found.exists()), None)
        if place is None:
            raise UserError(f"{file} names {one}, which is not there: {places[0]}. {WHERE}")
        if place.is_dir():
            yield from (place / name for name in image_paths(place))
        else:
            lines = (line.strip() for line in list_lines(place, WHERE))
            yield from (place.parent / line for line in lines if line)


def _boxes(base: Path, photograph: Path, names: Sequence[str], mended: Mended, wrong: WrongPlaces) -> list[Picture]:
    labels, found = _label_file(photograph), list[Picture]()
    if not labels.is_file():
        return []
    with wrong.collected():
        texts = enumerate(_label_lines(labels), start=1)
        lines = [(number, line.split()) for number, line in texts if line.strip()]
        if not lines:
            return []
        size, path = upright_size(read_file(photograph), str(photograph)), _relative(base, photograph)
        for number, fields in lines:
            with wrong.collected():
                where = f"{labels}, line {number}"
                label, shares = _line(where, fields, len(names))
                corners = [share * side for share, side in zip(shares, (*size, *size))]
                box = mended.box(corners, size, where)
                if box is not None:
                    found.append(Picture(path, names[label], box=box))
    return found


def _label_lines(labels: Path) -> list[str]:
    try:
        return utf8_text(labels.read_bytes()).splitlines()
    except NotUtf8 as error:
        raise UserError(f"{labels} is {error}") from None


def _line(where: str, fields: Sequence[str], num_classes: int) -> tuple[int, list[float]]:
    """The class, and the corners (left, upper, right, lower) as shares of the picture."""
    label, numbers = whole_of(fields[0]), [number for one in fields[1:] if (number := number_of(one)) is not None]
    if label is None or len(numbers) < len(fields) - 1:
        raise UserError(f"{where}: {' '.join(fields)[:80]!r} is not `class x y width height`: {_why_no_line(fields)}.")
    if not 0 <= label < num_classes:
        raise UserError(f"{where}: class {label}, and data.yaml has the classes 0 to {num_classes - 1}.")
    if not all(-10 < one < 10 for one in numbers):
        raise UserError(f"{where}: {' '.join(fields)[:80]!r} has numbers that are no shares of the picture, 0 to 1.")
    if len(numbers) in (4, 5):  # the fifth is the confidence of a prediction
        x, y, width, height = numbers[:4]
        if width < 0 or height < 0:
            raise UserError(f"{where}: {' '.join(fields)[:80]!r} has a width or height below 0.")
        return label, [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    if len(numbers) < 6 or len(numbers) % 2:
        raise UserError(
            f"{where}: {counted(len(numbers), 'number')} behind the class; a box has 4, a polygon 6, 8, ..."
        )
    across, down = numbers[::2], numbers[1::2]
    return label, [min(across), min(down), max(across), max(down)]


def _why_no_line(fields: Sequence[str]) -> str:
    why = [] if whole_of(fields[0]) is not None else [f"the class {fields[0][:80]!r} is not a whole number"]
    why += [
        f"word {place}, {why_no_number(one[:80])}" for place, one in enumerate(fields[1:], 2) if number_of(one) is None
    ]
    return "; ".join(why[:5])


def _label_file(photograph: Path) -> Path:
    """In the folder `labels` in place of the last folder `images`; beside the photograph where there is no such."""
    parts, beside = list(photograph.parts), photograph.with_suffix(".txt")
    places = [place for place, name in enumerate(parts[:-1]) if name == "images"]
    if not places:
        return beside
    parts[places[-1]] = "labels"
    within = Path(*parts).with_suffix(".txt")
    return beside if beside.is_file() and not within.is_file() else within


def _relative(base: Path, photograph: Path) -> str:
    root, path = base.absolute(), Path(photograph.absolute())
    normal = Path(*_without_detours(path.parts))
    if not normal.is_relative_to(root):
        raise UserError(f"{photograph} lies outside of {base}; give the folder that holds all photographs as --source.")
    return str(normal.relative_to(root))


def _without_detours(parts: Sequence[str]) -> list[str]:
    kept: list[str] = []
    for part in parts:
        if part == "..":
            kept.pop()
        else:
            kept.append(part)
    return kept
