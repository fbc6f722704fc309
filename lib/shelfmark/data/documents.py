"""Annotation files as JSON documents: parsed with errors that say what was expected, and written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from shelfmark.core.errors import UserError, did_you_mean
from shelfmark.core.regular_files import read_regular
from shelfmark.core.text_encoding import UTF8_MARK, NotUtf8, other_encoding
from shelfmark.data.json_stream import NotStreamed
from shelfmark.data.json_structure import Structure

_OTHER_KIND = {
    "annotations": "It has 'images', so it is a test set (data.test_json), or a raw file that"
    " `shelfmark prepare` has to convert first.",
    "images": "It has 'annotations', so it belongs to data.train_json or data.val_json.",
}


def read_document(file: Path, key: str, damage: NotStreamed | None = None) -> tuple[dict[str, Any], str]:
    """The parsed file, whose `key` is a list with at least one entry, and the sha256 of the file's bytes.

    damage: where a first look met something that is no JSON, to say in which record it is.
    """
    with file_errors_told(file):
        raw = read_regular(file)
    try:
        # Windows programs begin a UTF-8 file with a mark that JSON does not know.
        document = orjson.loads(raw.removeprefix(UTF8_MARK))
    except orjson.JSONDecodeError as error:
        if other_encoding(raw):
            told = NotUtf8(raw)
            raise UserError(f"{file}, line {told.line}, byte {told.byte:,}: the file is {told}") from None
        place = len(raw) - len(raw.removeprefix(UTF8_MARK)) + len(error.doc[: error.pos].encode("utf-8", "replace"))
        where = f"byte {place:,}{_record_at(raw, place, damage)}"
        raise UserError(f"{file} is not valid JSON at {where}: {error}. Was it written or copied to the end?") from None
    shape = f'{{"{key}": [...]}}'
    if not isinstance(document, dict):
        raise UserError(f"{file} holds {_kind(document)} at its top level; expected {shape}.")
    if key not in document:
        other = _OTHER_KIND[key] if ("images" if key == "annotations" else "annotations") in document else ""
        keys = ", ".join(list(document)[:10]) or "nothing"
        raise UserError(f"{file} has no {key!r}; expected {shape}, found: {keys}. {other}".rstrip())
    if not isinstance(document[key], list):
        raise UserError(f"{file}: {key!r} is {_kind(document[key])}; expected a list of objects.")
    if not document[key]:
        raise UserError(f"{file}: {key!r} is empty. There is nothing to read; prepare the file again.")
    return document, hashlib.sha256(raw).hexdigest()


def annotations_json(
    records: Iterable[Mapping[str, Any]],
    num_classes: int,
    class_names: Sequence[str] = (),
    groups: Sequence[str] = (),
) -> bytes:
    """An annotation file's bytes: the same input gives the same bytes, one record a line."""
    named = {"class_names": list(class_names), "groups": list(groups)}
    top = {"num_classes": num_classes, **{key: names for key, names in named.items() if names}}
    return _lines("annotations", records, top)


def image_list_json(image_ids: Iterable[str]) -> bytes:
    """A test set's bytes, one image a line."""
    return _lines("images", ({"image_id": image_id} for image_id in image_ids), {})


@contextmanager
def file_errors_told(file: Path) -> Iterator[None]:
    """Raises a UserError in place of an OSError within: the file is missing or cannot be read."""
    try:
        yield
    except FileNotFoundError:
        beside = [path.name for path in file.parent.glob("*.json")] if file.parent.is_dir() else []
        close = did_you_mean(file.name, beside)
        hint = f" Did you mean {close}?" if close else " `shelfmark prepare` makes annotation files."
        raise UserError(f"{file} does not exist.{hint}") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}.") from None


def _record_at(raw: bytes, place: int, damage: NotStreamed | None) -> str:
    """Words for the record at a byte of the file; none where the damage is in front of the records or behind them."""
    if damage is None or damage.first is None or damage.begin is None or place < damage.begin:
        return ""
    commas = Structure(raw[damage.begin : place]).commas()
    return f", in record {damage.first + len(commas)} (counted from 0)"


def _lines(key: str, records: Iterable[Mapping[str, Any]], top: Mapping[str, Any]) -> bytes:
    # Appended at once: each small result of orjson holds a kilobyte while it is kept.
    text = bytearray(b"{" + orjson.dumps(key) + b": [")
    separator = b"\n"
    for record in records:
        text += separator + _encoded(record)
        separator = b",\n"
    text += b"\n]"
    for name, value in top.items():
        text += b",\n" + orjson.dumps(name) + b": " + _encoded(value)
    return bytes(text + b"}\n")


def _encoded(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise UserError(
            f"{value!r} cannot stand in JSON ({error}). A file name must be UTF-8; rename the file."
        ) from None


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
