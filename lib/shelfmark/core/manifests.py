"""Manifests: JSON that carries its own digest, and what a manifest says of the files beside it.

`digest` is the SHA-256 of everything else in the manifest, as JSON with sorted keys and no spaces. A file is described
by size_bytes and sha256, or, where it is large, by size_bytes, block_bytes and blocks: the SHA-256 of each block, which
are computed side by side.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from shelfmark.core.cores import num_cores
from shelfmark.core.errors import UserError
from shelfmark.core.files import plain, sha256_file, write_json

DIGEST, VERSION = "digest", "format_version"
BEFORE_DIGESTS = 1
"""The format_version of what version 0.1.0 wrote, in which nothing vouches for the manifest."""
BLOCK_BYTES = 16 << 20
_SHOWN_CHARS = 60


class Kind(NamedTuple):
    """The kind of a manifest's value, in words and as a test."""

    words: str
    fits: Callable[[Any], bool]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_mapping_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(fits, value.values()))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


COUNT = Kind("a whole number from 0 on", _is_count)
TEXT = Kind("a text", _is_text)
MAPPING = Kind("a mapping", lambda value: isinstance(value, dict))
COUNTS = Kind("a mapping of names to whole numbers", _is_mapping_of(_is_count))
TEXTS = Kind("a mapping of names to texts", _is_mapping_of(_is_text))


def write_manifest(file: Path, facts: Mapping[str, Any]) -> None:
    """Writes the facts, which have a format_version above 1, with their digest."""
    told = plain({name: value for name, value in facts.items() if name != DIGEST})
    if not _is_count(told.get(VERSION)) or told[VERSION] <= BEFORE_DIGESTS:
        raise ValueError(f"format_version is {told.get(VERSION)!r}; a manifest with a digest has 2 or more")
    write_json(file, {DIGEST: _digest(told), **told})


def read_manifest(file: Path, *, unversioned: bool = False) -> dict[str, Any]:
    """The facts, without the digest. Raises a UserError, which names the file, where a value was changed.

    A manifest of format_version 1 may lack the digest: version 0.1.0 wrote none. unversioned: accept a manifest without
    format_version too, for the kinds of file to which version 0.1.0 gave none.
    """
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{file} does not exist.") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None
    try:
        told = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_number, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged: it is not valid JSON ({str(error)[:200]}).") from None
    if not isinstance(told, dict):
        raise UserError(f"{file} is not a manifest: it holds no names.")
    given = told.pop(DIGEST, None)
    version = told.get(VERSION)
    if given is None and ((_is_count(version) and version == BEFORE_DIGESTS) or (unversioned and VERSION not in told)):
        return told
    if given is None:
        raise UserError(f"{file} is damaged: its format is {version!r} and it has no digest.")
    if given != _digest(told):
        raise UserError(f"{file} is damaged or was changed by hand: it does not match its own digest.")
    return told


def require_kinds(told: Mapping[str, Any], kinds: Mapping[str, Kind], file: Path) -> None:
    """Raises a UserError about the first name that is missing or has a value of another kind.

    For manifests of version 0.1.0, which have no digest.
    """
    for name, kind in kinds.items():
        if name not in told:
            raise UserError(f"{file} is damaged: it says no {name}.")
        if not kind.fits(told[name]):
            shown = json.dumps(told[name])
            shown = shown if len(shown) <= _SHOWN_CHARS else f"{shown[:_SHOWN_CHARS]} ..."
            raise UserError(f"{file} is damaged: {name} is {shown}; it should be {kind.words}.")


def file_facts(path: Path, in_blocks: bool = False) -> dict[str, Any]:
    """The facts about a file that `check_file` compares. in_blocks: hash blocks in parallel, for large arrays."""
    size = path.stat().st_size
    if not in_blocks:
        return {"size_bytes": size, "sha256": sha256_file(path)}
    return {"size_bytes": size, "block_bytes": BLOCK_BYTES, "blocks": _block_digests(path, size, BLOCK_BYTES)}


def check_file(path: Path, facts: Any) -> None:
    """Reads the file whole. Raises a UserError where it is missing, or is not what `file_facts` said."""
    if not path.is_file():
        raise UserError(f"{path} is missing; {path.parent} is not whole.")
    if not isinstance(facts, Mapping) or not _is_count(facts.get("size_bytes")):
        raise UserError(f"the manifest in {path.parent} does not say what {path.name} should be: it is damaged.")
    size = path.stat().st_size
    if size != facts["size_bytes"]:
        raise UserError(f"{path} has {size} bytes, its manifest says {facts['size_bytes']}: cut off or replaced.")
    if "blocks" in facts:
        _check_blocks(path, facts, size)
    elif sha256_file(path) != facts.get("sha256"):
        raise UserError(f"{path} does not match the SHA-256 in its manifest: damaged or replaced.")


def _check_blocks(path: Path, facts: Mapping[str, Any], size: int) -> None:
    length, given = facts.get("block_bytes"), facts["blocks"]
    if not _is_count(length) or not length or not isinstance(given, list):
        raise UserError(f"the manifest in {path.parent} does not say what {path.name} should be: it is damaged.")
    found = _block_digests(path, size, length)
    wrong = [number for number, (one, other) in enumerate(zip(found, given)) if one != other]
    if wrong or len(found) != len(given):
        at = f"bytes {wrong[0] * length:,} to {min((wrong[0] + 1) * length, size):,}" if wrong else "its length"
        raise UserError(f"{path} does not match the SHA-256 in its manifest ({at}): damaged or replaced.")


def _block_digests(path: Path, size: int, length: int) -> list[str]:
    def digest(start: int) -> str:
        # Plain reads: a file that is cut off meanwhile is a short block and no bus fault.
        return hashlib.sha256(os.pread(descriptor, length, start)).hexdigest()

    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with ThreadPoolExecutor(_num_threads()) as pool:
            return list(pool.map(digest, range(0, size, length)))
    finally:
        os.close(descriptor)


def _num_threads() -> int:
    return min(num_cores(), 8)


def _digest(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) < len(pairs):
        raise ValueError("a name stands there twice")
    return told


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is beyond every number")
    return value
