"""`shelfmark grow`: new classes for a trained classifier, from a few pictures and without training."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shelfmark.calibration.growth import NewClasses, OldClasses, new_classes, old_classes
from shelfmark.core.contracts import Embeddings
from shelfmark.core.destinations import require_place
from shelfmark.core.errors import UserError
from shelfmark.core.log import say, warn
from shelfmark.core.places import work_place
from shelfmark.core.rng import numpy_generator
from shelfmark.core.together import from_main, together
from shelfmark.core.wording import counted
from shelfmark.data.annotations import folder_table
from shelfmark.data.class_map import matched
from shelfmark.data.table import Table
from shelfmark.predictions.answers import of_errors
from shelfmark.recipe import assemble
from shelfmark.runtime.features import features_of_photographs, model_features
from shelfmark.runtime.folder_records import folder_labels
from shelfmark.runtime.grown_model import grown_logits, imprinting_of, new_rows, save_grown
from shelfmark.runtime.model_card.written import write_card
from shelfmark.runtime.recalibration import recalibrated_bytes, run_features
from shelfmark.runtime.splits import read_evaluation, require_val
from shelfmark.runtime.trained_model import TrainedModel

_MOST_CLASSES, _EACH = 400, 5
"""Training images that a new row is fitted to the others by, where there are no val images."""


@dataclass(frozen=True)
class Growth:
    """checkpoint: the folder of the model with the new classes. classes: their numbers and names. counts: pictures of
    each. old: what became of pictures of the old classes, on val; None without val. errors: id of an unreadable picture
    -> why."""

    checkpoint: Path
    num_classes: int
    classes: Mapping[int, str]
    counts: Mapping[int, int]
    old: OldClasses | None
    new: NewClasses
    errors: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        classes = [
            {"class": label, "name": name, "num_images": self.counts[label]} for label, name in self.classes.items()
        ]
        return {
            "checkpoint": self.checkpoint,
            "num_classes": self.num_classes,
            "classes": classes,
            "old_classes": None if self.old is None else asdict(self.old),
            "new_classes": asdict(self.new),
            "thresholds": None,
            "errors": of_errors(self.errors),
        }


@dataclass(frozen=True, eq=False)
class _NewPictures:
    """features: (N, D). labels: (N,), as `names` has them. errors: id of an unreadable picture -> why."""

    features: np.ndarray
    labels: np.ndarray
    names: Mapping[int, str]
    errors: Mapping[str, str]


@dataclass(frozen=True)
class _Known:
    """Pictures of the old classes. is_val: whether they are val images, on which scores can be measured."""

    table: Table
    is_val: bool

    def features(self, model: TrainedModel, folder: Path) -> Embeddings:
        # Of val images they stay in the run folder: other commands use them too.
        return run_features(model, self.table, "val") if self.is_val else model_features(model, self.table, folder)


def grow(model: TrainedModel, images: Path, out: Path) -> Growth:
    """Writes to `out` the checkpoint of `model` with a class more for each folder of pictures in `images`.

    Each new row comes from the mean embedding of its pictures, see `Imprinting`; the rows of the old classes stay as
    they are. UserError: a class of this name is known, or none of its pictures can be read.
    """
    with ExitStack() as stack:

        def begin() -> Path:
            require_place(out, "--out", is_folder=True, size_bytes=recalibrated_bytes(model))
            if out.exists():
                raise UserError(f"{out} exists; a checkpoint is not written over another. Give another --out.")
            return stack.enter_context(work_place(out)).folder

        place = from_main(begin)
        with together():
            table = folder_table(images)
            labels, names = _new_classes(model, images, table)
            known = _known_pictures(model)
        bad_images = out.with_name(f"{out.name}_bad_images.csv")
        features, errors = features_of_photographs(model, table, place / "new", bad_images)
        old = known.features(model, place / "old")
        new = _NewPictures(features.features[:], labels[features.rows], names, errors)
        return from_main(lambda: _grown(model, out, new, old, known.is_val), "calibration")


def _new_classes(model: TrainedModel, images: Path, table: Table) -> tuple[np.ndarray, dict[int, str]]:
    """The number of each picture's class, from `num_classes` on, and the names of these."""
    if model.class_names is None:
        raise UserError(
            f"{model.checkpoint.folder} has classes without names, and nothing would say which of them a new folder is."
            " Give the training annotations class_names, and train with them."
        )
    labels, names = folder_labels(images, list(table.image_ids), dict(enumerate(model.class_names)), model.num_classes)
    known = [name for label, name in names.items() if label < model.num_classes]
    if known:
        more = f" and {len(known) - 1} more" if known[1:] else ""
        raise UserError(
            f"{images} has a folder of the class {known[0]!r}{more}, which {model.checkpoint.folder} knows. `grow` adds"
            " new classes alone: take this folder out, or give it the name of a new product. More pictures of a known"
            " class join an index, with `shelfmark index add`, or the next training."
        )
    return labels, dict(sorted(names.items()))


def _known_pictures(model: TrainedModel) -> _Known:
    """The val images of the model; without any, some training images. Both only place the new rows."""
    data = model.recipe.data
    if data.val_json is not None and Path(data.val_json).is_file():
        return _Known(require_val(read_evaluation(model)[0], "grow"), is_val=True)
    why = "data.val_json is not set" if data.val_json is None else f"data.val_json={data.val_json} does not exist"
    warn(f"{why}, so that the change of the old classes' scores is not measured; give images, as data.val_json=FILE")
    if data.train_json is None or not Path(data.train_json).is_file():
        raise UserError(
            "to give new rows the scale of the others, `grow` looks at images of the old classes, and neither val nor"
            f" training images of {model.checkpoint.folder} are there: {why}. Give some, as data.val_json=FILE."
        )
    train = matched(assemble.read_table(model.recipe, "train", num_classes=0), str(data.train_json), model.classes)
    generator = numpy_generator(model.recipe.seed, "grow_known")
    classes = np.unique(train.labels[train.labels >= 0])
    drawn = generator.choice(classes, min(len(classes), _MOST_CLASSES), replace=False)
    rows = [
        generator.choice(own, min(len(own), _EACH), replace=False)
        for own in (np.flatnonzero(train.labels == label) for label in np.sort(drawn))
    ]
    return _Known(train.take(np.sort(np.concatenate(rows))), is_val=False)


def _grown(model: TrainedModel, out: Path, new: _NewPictures, old: Embeddings, is_val: bool) -> Growth:
    counts = {label: int((new.labels == label).sum()) for label in new.names}
    unread = [new.names[label] for label, count in counts.items() if not count]
    if unread:
        raise UserError(f"no picture of {', '.join(unread)} can be read, so that there is nothing to make a row of.")
    classifier = model.network.classifier
    bias = None if classifier.bias is None else classifier.bias.detach()
    fitted = imprinting_of(model).fit(classifier.weight, bias, old.features, old.labels)
    first = model.num_classes
    rows = new_rows(model, fitted, new.features, new.labels - first, list(new.names.values()))
    scores = grown_logits(model, rows)
    change = old_classes(scores, old.features, old.labels, first) if is_val else None
    known = new_classes(scores, fitted, new.features, torch.from_numpy(new.labels), first)
    save_grown(model, out, rows)
    measured = {} if change is None else {"top1": change.top1_after}
    write_card(out, measured, "validation images of the classes that were known before")
    say(f"{counted(len(new.names), 'new class')} behind {counted(first, 'known one')}; written to {out}")
    _say_what_follows(model, out)
    return Growth(out, first + len(new.names), new.names, counts, change, known, new.errors)


def _say_what_follows(model: TrainedModel, out: Path) -> None:
    given = f"--RESUME_MODEL {shlex.quote(str(out))}"
    say(
        f"an index built with {model.checkpoint.folder} fits this checkpoint too: give {given} to `shelfmark recognise`"
        " and `shelfmark index add`"
    )
    say(
        "thresholds are not carried over, since every answer may change with a new class: ask for them again, with"
        f" `shelfmark thresholds {given}`"
    )
