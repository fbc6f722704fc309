"""The pictures on which an exported file is proved. Legend: N pictures, n rows, C classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.log import warn
from shelfmark.core.rng import numpy_generator
from shelfmark.data.annotations import folder_table
from shelfmark.data.cut_pictures import CutPictures
from shelfmark.data.sources import ImageSource
from shelfmark.data.table import Table
from shelfmark.export.proof import FEWEST_PICTURES, Expected
from shelfmark.recipe import assemble
from shelfmark.runtime.splits import read_evaluation
from shelfmark.runtime.trained_model import TrainedModel

_MOST_PICTURES = 1000
_MOST_UNREAD = 0.1


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of a proof. labels: (N,), -1 for none. are_classes: whether the labels are the model's classes.

    rows: (N,) those of the proof. others: (n,) rows that it does not use.
    """

    source: ImageSource
    rows: np.ndarray
    labels: np.ndarray
    others: np.ndarray
    are_classes: bool
    where: str
    table: Table

    @classmethod
    def of(cls, model: TrainedModel, images: Path | None, num_held_out: int = 0) -> Pictures:
        """Of val, else of the retrieval set, at most 1,000, whole classes of them; or all in a folder.

        num_held_out: others that there should be; none are taken from the last 200.
        """
        if images is not None:
            table = folder_table(images)
            rows, are_classes, where = np.arange(len(table)), False, str(images)
        else:
            table, are_classes = _labelled(model)
            rows = _whole_classes(table.labels, _MOST_PICTURES, model.recipe.seed)
            where = str(model.recipe.data.val_json if are_classes else model.recipe.data.retrieval_json)
        others = np.setdiff1d(np.arange(len(table)), rows)
        missing = min(num_held_out - len(others), len(rows) - FEWEST_PICTURES)
        if missing > 0:
            drawn = numpy_generator(model.recipe.seed, "held out of the proof").permutation(rows)[:missing]
            others, rows = np.union1d(others, drawn), np.setdiff1d(rows, drawn)
        # The file takes whole pictures: cutting boxes out is its caller's part.
        source: ImageSource = assemble.image_source(model.recipe, table)
        if table.boxes is not None:
            source = CutPictures(source, model.recipe.data.max_image_pixels, model.recipe.data.color_profiles)
        return cls(source, rows, table.labels[rows], others, are_classes, where, table)


def require_read(found: Expected, num_pictures: int) -> None:
    """Raises a UserError if no picture, or too few, could be read; names those that could not."""
    for name, reason in list(found.unread.items())[:10]:
        warn(f"{name} could not be read: {reason}")
    if len(found.unread) > _MOST_UNREAD * num_pictures:
        raise UserError(
            f"{len(found.unread)} of {num_pictures} images could not be read, so they prove nothing. Name others with"
            " --images DIR, or repair them."
        )


def class_groups(model: TrainedModel, pictures: Pictures) -> dict[int, str] | None:
    """The family of each class, as the annotations of the proof, or of the training, say it."""
    table, file = pictures.table, model.recipe.data.train_json
    names = table.groups if pictures.are_classes else None
    if names is None and file is not None and file.is_file():
        names = assemble.read_table(model.recipe, "train").groups
    if names is None or len(names) != model.num_classes:
        return None
    return {label: name for label, name in enumerate(names) if name}


def _labelled(model: TrainedModel) -> tuple[Table, bool]:
    """Val, or the retrieval set where there is no val; and whether its labels are the model's classes."""
    data = model.recipe.data
    if data.val_json is None and data.retrieval_json is None:
        raise UserError(
            "the checkpoint's config names no validation images to prove the file on; give photographs as --images DIR,"
            " or annotations as data.val_json=FILE."
        )
    val, retrieval = read_evaluation(model)
    if val is not None:
        return val, True
    assert retrieval is not None
    return retrieval, False


def _whole_classes(labels: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Rows of whole classes, drawn by the seed, at most `most` of them; a class that is larger is cut off."""
    if len(labels) <= most:
        return np.arange(len(labels))
    classes = numpy_generator(seed, "export pictures").permutation(np.unique(labels))
    place = np.empty(int(labels.max()) + 2, np.int64)
    place[classes] = np.arange(len(classes))
    return np.sort(np.argsort(place[labels], kind="stable")[:most])
