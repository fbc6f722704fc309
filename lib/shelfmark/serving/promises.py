"""The promise that holds for what is served, if there is one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shelfmark.calibration.promise.promise import Promise
from shelfmark.core.errors import UserError
from shelfmark.core.log import warn
from shelfmark.retrieval.index_files import THRESHOLDS
from shelfmark.runtime.model_hashes import CHECKPOINT
from shelfmark.runtime.thresholds_file import read_thresholds
from shelfmark.serving.gallery import Gallery
from shelfmark.serving.models import Model

_NOTHING = "nothing is promised, and every picture is answered, also one of a product that is not known"


def promise_of(model: Model, gallery: Gallery | None, index: Path | None) -> Promise | None:
    """Of the index's thresholds.json, else of what the model brings. None where none fits; a warning says why.

    UserError: the thresholds cannot be read.
    """
    found = None if index is None else read_thresholds(index / THRESHOLDS)
    found = found or _of_model(model.thresholds)
    if found is None:
        warn(f"there are no thresholds: {_NOTHING}. `shelfmark thresholds` learns when to answer")
        return None
    stale = found.stale(str(model.facts.get(CHECKPOINT)), None if gallery is None else gallery.sha256, None)
    if not stale and gallery is not None and not gallery.shares_classes:
        stale = "the index numbers its classes by another list than the model"
    if model.precision != "fp32":
        warn(f"an export in {model.precision} has other scores than those that thresholds are learned on: {_NOTHING}")
        return None
    if stale:
        warn(f"the thresholds do not fit ({stale}): {_NOTHING}. `shelfmark thresholds` learns them anew")
        return None
    return found


def _of_model(thresholds: Mapping[str, Any] | None) -> Promise | None:
    try:
        return None if thresholds is None else Promise.of(thresholds)
    except ValueError as error:
        raise UserError(f"the model's thresholds cannot be used: {error}. Export it anew.") from None
