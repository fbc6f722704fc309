"""Photographs that a user asks about: those that cannot be read are named, and the others are answered.

Legend: Q photographs, n rows of them, D embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.log import warn
from shelfmark.data.bad_images import require_some_read
from shelfmark.data.image_files import image_files, tell_left_out
from shelfmark.data.source_words import FILES
from shelfmark.data.sources import GivenSource
from shelfmark.runtime.image_pass import evaluation_pass
from shelfmark.runtime.trained_model import TrainedModel

_FEW_PHOTOS = 64
_NUM_NAMED = 10


@dataclass(frozen=True, eq=False)
class EmbeddedPhotographs:
    """rows: (n,) int64, rising: the readable ones of the Q photographs. features: (n, D) float32, of these.

    errors: row -> why the photograph could not be read.
    """

    rows: np.ndarray
    features: np.ndarray
    errors: dict[int, str]


def listed(photos: Sequence[Path]) -> list[Path]:
    """The photographs; a folder is replaced by the photographs in it, and a line tells what it leaves out."""
    found: list[Path] = []
    told: list[str] = []
    for photo in photos:
        if not photo.is_dir():
            found.append(photo)
            continue
        files = image_files(photo)
        found.extend(photo / name for name in files.with_damaged)
        told.append(files.told(damaged_too=False))
        tell_left_out(files)
    if not found:
        raise UserError(f"there is no photograph in {', '.join(map(str, photos))}. {' '.join(told)}".rstrip())
    return found


def forgiving(model: TrainedModel, num_photos: int | None = None) -> TrainedModel:
    """The model, for a pass over a user's photographs: each is read in its file, an unreadable one is skipped,
    whatever the recipe says.

    num_photos: few are read without loader processes, each of which takes longer to start. None: as the recipe says.
    """
    data = model.recipe.data.model_copy(update={"on_bad_image": "skip", "source": FILES})
    if num_photos is not None and num_photos <= _FEW_PHOTOS:
        data = data.model_copy(update={"num_workers": 0})
    return replace(model, recipe=model.recipe.model_copy(update={"data": data}))


def tell_unread(num_photos: int, errors: Mapping[str, str], listed_in: Path) -> None:
    """Names the photographs that could not be read, with the reason; a UserError if there is no other one.

    errors: id -> reason. listed_in: the file that has all of them.
    """
    require_some_read(num_photos - len(errors), errors)
    for one, reason in list(errors.items())[:_NUM_NAMED]:
        warn(f"{one} could not be read: {reason}")
    if errors:
        more = f", {_NUM_NAMED} of them above" if len(errors) > _NUM_NAMED else ""
        warn(f"{len(errors)} of {num_photos} photographs could not be read{more}; all are listed in {listed_in}")


def embed_photographs(model: TrainedModel, photos: Sequence[Path | bytes | np.ndarray]) -> EmbeddedPhotographs:
    """Embeds files, the bytes of files, or pixels (H, W, 3) uint8, as the recipe's evaluation does. Unreadable
    photographs are skipped.

    More than 64 photographs are read by data.num_workers processes.
    """
    names = [str(photo) if isinstance(photo, Path) else f"photograph {row}" for row, photo in enumerate(photos)]
    recipe = forgiving(model, len(photos)).recipe
    source = GivenSource(names, photos, recipe.data.max_image_bytes)
    rows, features, errors = [np.empty(0, np.int64)], [], {}
    for batch in evaluation_pass(recipe, model.network, model.precision, source).share():
        errors.update({bad.row: bad.reason for bad in batch.bad})
        if len(batch.rows):
            rows.append(batch.rows)
            features.append(batch.values.float().cpu().numpy())
    embeddings = np.concatenate(features) if features else np.empty((0, 0), np.float32)
    return EmbeddedPhotographs(np.concatenate(rows), embeddings, errors)
