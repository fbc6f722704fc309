"""Where thresholds stand, and whether they fit: in the folder of an index, or in the run folder beside a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shelfmark.calibration.promise.promise import Promise
from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json
from shelfmark.core.folders import folder_to_read
from shelfmark.core.log import warn
from shelfmark.retrieval.index_files import THRESHOLDS, index_hash
from shelfmark.runtime.joint_answers import SearchSettings
from shelfmark.runtime.trained_model import TrainedModel


def thresholds_file(model: TrainedModel, index_folder: Path | None) -> Path:
    """The file of the thresholds: of an index its own, of a checkpoint without one that of its run folder."""
    return (model.run_folder if index_folder is None else index_folder) / THRESHOLDS


def read_thresholds(file: Path) -> Promise | None:
    """What the file promises; None if there is none. UserError: it cannot be read."""
    place = folder_to_read(file.parent) / file.name
    if not place.is_file():
        return None
    try:
        content = read_json(place)
    except UserError as error:
        raise UserError(f"{error} `shelfmark thresholds` learns it anew.") from None
    try:
        if not isinstance(content, Mapping):
            raise ValueError("it holds no thresholds")
        return Promise.of(content)
    except ValueError as error:
        raise UserError(f"{file} cannot be used: {error}. Learn it anew with `shelfmark thresholds`.") from None


def promise_of(model: TrainedModel, index_folder: Path | None, settings: SearchSettings | None) -> Promise | None:
    """The promise that holds for answers of this model, index and search; None without one, and a warning says why.

    settings: None where nothing is searched.
    """
    file = thresholds_file(model, index_folder)
    found = read_thresholds(file)
    if found is None:
        warn(
            f"there is no {file}, so nothing is promised: every picture is answered, also one of a product that is not"
            " known. `shelfmark thresholds` learns when to answer"
        )
        return None
    hashes: tuple[str, str | None] = (
        model.hashes.checkpoint,
        None if index_folder is None else index_hash(index_folder),
    )
    stale = found.stale(*hashes, None if settings is None or index_folder is None else settings.as_json())
    if stale:
        warn(
            f"the thresholds in {file} are not used, and nothing is promised: {stale}. `shelfmark thresholds` learns"
            " them anew"
        )
        return None
    return found


def require_promise(model: TrainedModel, index_folder: Path | None) -> Promise:
    """As `promise_of`, with the settings of the file. UserError: there is none, or it does not fit."""
    file = thresholds_file(model, index_folder)
    found = read_thresholds(file)
    if found is None:
        raise UserError(f"there is no {file}: nothing was promised yet. Learn it with `shelfmark thresholds`.")
    stale = found.stale(model.hashes.checkpoint, None if index_folder is None else index_hash(index_folder), None)
    if stale:
        raise UserError(f"{file} does not fit: {stale}. Learn it anew with `shelfmark thresholds`.")
    return found


def search_settings(found: Promise) -> SearchSettings:
    """The settings with which the thresholds were learned."""
    told: Mapping[str, Any] = found.thresholds.get("search") or {}
    return SearchSettings(**told)
