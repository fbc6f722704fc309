"""`shelfmark pseudo-label`: confident predictions as training annotations."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.destinations import require_place
from shelfmark.core.errors import UserError
from shelfmark.core.files import unused_path, write_text
from shelfmark.core.log import say, warn
from shelfmark.core.text_encoding import has_other_bytes
from shelfmark.core.together import from_main
from shelfmark.core.wording import are, counted
from shelfmark.data.annotations import read_annotations
from shelfmark.data.class_map import ClassList, say_moved, with_new_behind
from shelfmark.data.documents import annotations_json, read_document
from shelfmark.data.identity import canonical_path, identities
from shelfmark.pipelines.predict import Prediction, predict
from shelfmark.predictions.answers import answered
from shelfmark.runtime.trained_model import TrainedModel


@dataclass(frozen=True)
class PseudoLabels:
    """file: the annotations. predicted: all images. labelled: (n,) rows of those that were sure enough."""

    file: Path
    predicted: Prediction
    labelled: np.ndarray

    def as_json(self) -> list[dict[str, Any]]:
        """In the form of `predictions.answers`, one for each image; the answer is unknown where it was not sure."""
        labelled = set(self.labelled.tolist())
        return [
            one if row in labelled or "error" in one else answered(one["id"], one["candidates"], is_known=False)
            for row, one in enumerate(self.predicted.as_json())
        ]


def pseudo_label(
    model: TrainedModel,
    out: Path,
    images: Path | None = None,
    min_confidence: float = 0.9,
    with_train: bool = False,
) -> PseudoLabels:
    """Writes annotations of the images whose best class has a probability of `min_confidence`.

    Each record has `source: "pseudo"`, its `confidence` and, if the model has names, its `class_name`.
    images: a folder; default the recipe's test set.
    with_train: the records of data.train_json come first, so that one file trains on both. All classes have the
    checkpoint's numbers, matched by name; classes that are new to it follow. A training image keeps its label.
    The predictions of all images lie beside, as a submission. An existing file is never overwritten.
    An image whose name is not UTF-8 is predicted, and left out of the annotations, which cannot hold the name.
    """
    if not 0 < min_confidence <= 1:
        raise UserError(f"--min-confidence={min_confidence} must lie in 0..1, 0 excluded.")
    document: dict[str, Any] = {}

    def begin() -> Path:
        file = unused_path(require_place(out, "--out"))
        document.update(_train_document(model) if with_train else {})
        return file

    file = from_main(begin)
    # With names, beside the file of numbers.
    predicted = predict(model, images=images, topk=1, out=file.with_name(f"{file.stem}_predicted.csv"))
    labelled = from_main(lambda: _write(model, predicted, document, min_confidence, file), "report")
    return PseudoLabels(file, predicted, labelled)


def _write(
    model: TrainedModel, predicted: Prediction, document: dict[str, Any], min_confidence: float, file: Path
) -> np.ndarray:
    """Returns the rows that were written. document: the training annotations that come first; empty for none."""
    # The score of an image that could not be read is NaN, and so never confident.
    confident = np.flatnonzero(predicted.scores[:, 0] >= min_confidence)
    if not len(confident):
        best = np.nanmax(predicted.scores, initial=0.0)
        raise UserError(
            f"no image is predicted with a probability of {min_confidence:g}; the greatest is {best:.3f}."
            " Lower --min-confidence."
        )
    confident = _with_names_in_utf8(predicted, confident)
    root = model.recipe.data.root
    confident = _new_to(document.get("annotations", ()), root, predicted, confident)
    records = _records(predicted, confident, root)
    written = annotations_json(
        [*document.get("annotations", []), *records],
        document.get("num_classes", model.num_classes),
        document.get("class_names", model.class_names) or (),
        document.get("groups", ()),
    )
    write_text(file, written.decode())
    images = counted(len(predicted.table), "image")
    say(f"{len(confident)} of {images} {are(len(confident))} predicted with {min_confidence:g} or more: {file}")
    _tell_extra_root(model, predicted)
    return confident


def _with_names_in_utf8(predicted: Prediction, rows: np.ndarray) -> np.ndarray:
    """The rows that annotations can name; the others are told."""
    is_strange = np.array([has_other_bytes(str(predicted.table.path(row))) for row in rows])
    if not is_strange.any():
        return rows
    first = predicted.table.path(rows[is_strange][0])
    told = (
        f"the names of {is_strange.sum():,} of {len(rows):,} confident images are not UTF-8, such as {first}, and"
        " annotations cannot hold them. Rename the files, for instance with `convmv -r -f latin1 -t utf8 --notest`"
    )
    if is_strange.all():
        raise UserError(f"{told}.")
    warn(f"{told}; these images are left out")
    return rows[~is_strange]


def _new_to(records: Sequence[dict[str, Any]], root: Path, predicted: Prediction, rows: np.ndarray) -> np.ndarray:
    """The rows whose images are none of the records'; the others keep the labels of the records."""
    known = set(identities((str(record["fpath"]) for record in records), root))
    table = predicted.table
    is_new = np.array([one not in known for one in identities((str(table.path(row)) for row in rows), table.root)])
    if not is_new.all():
        say(f"{(~is_new).sum():,} of {len(rows):,} confident images are training images already, and keep their labels")
    return rows[is_new]


def _train_document(model: TrainedModel) -> dict[str, Any]:
    file = model.recipe.data.train_json
    if file is None:
        raise UserError("--with-train needs the training annotations; give data.train_json=FILE.")
    data = model.recipe.data
    table = read_annotations(file, data.root, data.extra_roots, data.num_classes, check_files=False)
    document = read_document(file, "annotations")[0]
    numbers, classes = with_new_behind(ClassList.of_file(table, str(file)), model.classes)
    is_known, num_new = numbers < model.num_classes, classes.num_classes - model.num_classes
    moved = int((numbers != np.arange(len(numbers)))[is_known].sum())
    if moved:
        say_moved(str(file), moved, model.classes)
    if num_new:
        say(f"{file}: new to the checkpoint, with the numbers behind its own: {counted(num_new, 'class')}")
    groups = dict(zip(numbers.tolist(), table.groups or ()))
    return {
        "annotations": [_renumbered(record, numbers) for record in document["annotations"]],
        "num_classes": classes.num_classes,
        "class_names": classes.names,
        "groups": [groups.get(number, "") for number in range(classes.num_classes)] if groups else (),
    }


def _renumbered(record: dict[str, Any], numbers: np.ndarray) -> dict[str, Any]:
    found = {name: record[name] for name in ("category_id", "true_category_id") if record.get(name) is not None}
    return {**record, **{name: int(numbers[label]) for name, label in found.items()}}


def _records(predicted: Prediction, rows: np.ndarray, root: Path) -> Iterator[dict[str, Any]]:
    base = os.path.abspath(root)
    for row in rows:
        label = int(predicted.classes[row, 0])
        yield {
            "category_id": label,
            **({"class_name": predicted.names[label]} if label in predicted.names else {}),
            "fpath": canonical_path(os.path.abspath(predicted.table.path(row)), base),
            "image_id": predicted.table.image_ids[row],
            "source": "pseudo",
            "confidence": round(float(predicted.scores[row, 0]), 6),
        }


def _tell_extra_root(model: TrainedModel, predicted: Prediction) -> None:
    data, folder = model.recipe.data, Path(os.path.abspath(predicted.table.root))
    allowed = [Path(os.path.abspath(root)) for root in (data.root, *data.extra_roots)]
    if not any(folder.is_relative_to(root) for root in allowed):
        say(f"the images lie outside data.root: train on them with data.extra_roots=[{folder}]")
