"""Checkpoints of earlier versions, brought to today's form: one function a version and file.

Whoever renames an option (in `config/renamed.py`), removes one, or changes what `state.pt` holds, raises FORMAT_VERSION
and adds a function here, so that every checkpoint opens for ever (tests/version_0_1_0 keeps one).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from shelfmark.config.renamed import present_options
from shelfmark.core.errors import UserError
from shelfmark.core.manifests import BEFORE_DIGESTS, COUNT, MAPPING, TEXT, Kind, require_kinds

FORMAT_VERSION = 3

BY_PLACE = "by_place"
"""In a state of version 1: the optimizer's state, by the place of each parameter in its groups."""

_FILES = Kind(
    "a mapping of files to their size_bytes and sha256",
    lambda files: (
        MAPPING.fits(files)
        and all(
            MAPPING.fits(one) and COUNT.fits(one.get("size_bytes")) and TEXT.fits(one.get("sha256"))
            for one in files.values()
        )
    ),
)
_KINDS = {
    "files": _FILES,
    "config": MAPPING,
    "num_classes": COUNT,
    "class_names": Kind(
        "a list of texts, or null",
        lambda names: names is None or (isinstance(names, list) and all(map(TEXT.fits, names))),
    ),
    "counts": Kind("a list of whole numbers", lambda counts: isinstance(counts, list) and all(map(COUNT.fits, counts))),
    "step": COUNT,
    "epoch": COUNT,
}
_NUMBERED = ("class_names", "counts")


class NewerFormatError(UserError):
    """A checkpoint that a newer version wrote. This version must not replace it."""


def upgraded_manifest(manifest: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The manifest in today's form; format_version stays that of the files. A newer one is a UserError."""
    version = manifest.get("format_version")
    if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
        raise NewerFormatError(
            f"{folder} has checkpoint format {version!r}; this Shelfmark reads formats 1 to {FORMAT_VERSION}."
            " A newer one needs a newer Shelfmark."
        )
    for name in ("files", "config", "step"):
        if name not in manifest:
            raise UserError(f"{folder}/manifest.json is not that of a checkpoint: it says no {name}.")
    if version == BEFORE_DIGESTS:
        _require_kinds(manifest, folder / "manifest.json")
    for upgrade in _MANIFESTS[version - 1 :]:
        manifest = upgrade(manifest)
    return manifest


def upgraded_state(state: dict[str, Any], version: int) -> dict[str, Any]:
    """The training state in today's form; the empty state of a recalibrated model stays empty."""
    if state:
        for upgrade in _STATES[version - 1 :]:
            state = upgrade(state)
    return state


def _require_kinds(manifest: dict[str, Any], file: Path) -> None:
    require_kinds(manifest, _KINDS, file)
    for name in _NUMBERED:
        if manifest[name] is not None and len(manifest[name]) != manifest["num_classes"]:
            raise UserError(
                f"{file} is damaged: {name} has {len(manifest[name])} entries for {manifest['num_classes']} classes."
            )


def _manifest_of_2(manifest: dict[str, Any]) -> dict[str, Any]:
    """No option changed its name. A recalibrated model is known by what it says of its calibration."""
    return {**manifest, "has_state": "calibration" not in manifest}


def _state_of_2(state: dict[str, Any]) -> dict[str, Any]:
    """Hooks keep states of their own; the schedule has a position; the optimizer's entries are by name."""
    bad_images = state.get("bad_images")
    rest = {name: value for name, value in state.items() if name != "bad_images"}
    before = state["progress"]
    progress = {**before, "position": before["step"], "summed": before["step_in_epoch"]}
    hooks = {} if bad_images is None else {"bad_images": bad_images}
    return {**rest, "optimizer": {BY_PLACE: state["optimizer"]}, "progress": progress, "hooks": hooks}


def _manifest_of_3(manifest: dict[str, Any]) -> dict[str, Any]:
    """Options have their present names."""
    return {**manifest, "config": present_options(manifest["config"])}


def _unchanged(state: dict[str, Any]) -> dict[str, Any]:
    return state


_MANIFESTS: list[Callable[[dict[str, Any]], dict[str, Any]]] = [_manifest_of_2, _manifest_of_3]
_STATES: list[Callable[[dict[str, Any]], dict[str, Any]]] = [_state_of_2, _unchanged]
