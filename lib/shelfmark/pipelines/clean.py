"""`shelfmark clean`: training images whose label is in doubt, and lists to start from."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.cleaning.suspects import WEAK_BELOW, Suspects, find_suspects, images_to_leave
from shelfmark.core.contracts import Embeddings
from shelfmark.core.csv_lines import line_feed_writer
from shelfmark.core.destinations import require_place
from shelfmark.core.errors import UserError
from shelfmark.core.files import unused_path, write_text
from shelfmark.core.log import say, warn
from shelfmark.core.text_safety import spreadsheet_cell
from shelfmark.core.together import from_main, together
from shelfmark.core.wording import counted
from shelfmark.data.annotations import read_annotations
from shelfmark.data.lists import write_image_ids, write_relabels
from shelfmark.data.table import Table
from shelfmark.recipe import assemble
from shelfmark.runtime.features import model_features
from shelfmark.runtime.stored_features import STORED
from shelfmark.runtime.trained_model import TrainedModel

_HEADER = ["row", "image_id", "fpath", "label", "suggested", "suspicion", "prototype", "confidence"]
_NAMES = ["label_name", "suggested_name"]


@dataclass(frozen=True)
class LabelFindings:
    """folder: holds suspects.csv, drop.txt and relabel.csv. embeddings: of the judged images, in the same order.

    leaves: (N,) bool, whether an image is on drop.txt. names: of the classes that have one.
    """

    folder: Path
    embeddings: Embeddings
    suspects: Suspects
    leaves: np.ndarray
    names: Mapping[int, str] = field(default_factory=dict)

    @property
    def to_drop(self) -> np.ndarray:
        """(n,) rows of the images on drop.txt, the most suspicious first."""
        ranked = self.suspects.ranking
        return ranked[self.leaves[ranked]]

    @property
    def to_relabel(self) -> np.ndarray:
        """(n,) rows of the images on relabel.csv."""
        return self.to_drop[self.suspects.agreed[self.to_drop]]

    def as_json(self) -> dict[str, Any]:
        """The folder and both lists, with numbers and names of classes."""
        return {
            "folder": self.folder,
            "num_judged": len(self.suspects.ranking),
            "drop": [self._doubt(row) for row in self.to_drop],
            "relabel": [self._doubt(row) for row in self.to_relabel],
        }

    def _doubt(self, row: int) -> dict[str, Any]:
        label, suggested = int(self.suspects.labels[row]), int(self.suspects.suggested[row])
        return {
            "id": self.embeddings.image_ids[row],
            "class": label,
            "name": self.names.get(label),
            "suggested": suggested,
            "suggested_name": self.names.get(suggested),
            "suspicion": self.suspects.suspicion[row],
        }


def clean(
    model: TrainedModel,
    out: Path | None = None,
    annotations: Path | None = None,
    *,
    keep_accuracy: float = 0.92,
    min_suspicion: float = 0.7,
) -> LabelFindings:
    """Judges the labels of the recipe's training images, or of `annotations`, and writes the results.

    out: a folder, numbered if it exists; default `clean` in the run folder. Labels are the numbers of the annotations,
    to which the lists go back, whatever numbers the model's classes have. A warning says if the model is too weak.
    suspects.csv: every judged image, most suspicious first; `row` is that of the training table, after data.lists.
    drop.txt: `images_to_leave`. relabel.csv: the images of drop.txt for which both judges suggest one class. An image
    on both lists is dropped, so remove from drop.txt the images that relabel.csv corrects.
    """
    for option, part in (("--keep-accuracy", keep_accuracy), ("--min-suspicion", min_suspicion)):
        if not 0 <= part <= 1:
            raise UserError(f"{option}={part} must lie in 0..1.")
    folder = from_main(lambda: unused_path(require_place(out or model.run_folder / "clean", "--out", is_folder=True)))
    with together():
        table = _table(model, annotations)
    stored = model.run_folder / STORED / (f"clean_{annotations.stem}" if annotations else "train")
    features = model_features(model, table, stored)

    names = dict(enumerate(table.class_names or model.class_names or ()))

    def judge() -> tuple[Suspects, np.ndarray]:
        suspects = find_suspects(features.features, features.labels, device=model.precision.device)
        leaves = images_to_leave(suspects, keep_accuracy, min_suspicion)
        write_lists(LabelFindings(folder, features, suspects, leaves, names))
        _warn_of_false_alarms(suspects, int(leaves.sum()))
        return suspects, leaves

    return LabelFindings(folder, features, *from_main(judge, "report"), names)


def _warn_of_false_alarms(suspects: Suspects, num_listed: int) -> None:
    if num_listed and suspects.accuracy < WEAK_BELOW:
        warn(
            f"the judges find the given class of only {suspects.accuracy:.0%} of these images, by all the others. Below"
            f" {WEAK_BELOW:.0%}, most of the {num_listed:,} images of drop.txt are likely false alarms of a weak model,"
            " unless a quarter of the labels or more are wrong: train a better model before using the lists"
        )


def _table(model: TrainedModel, annotations: Path | None) -> Table:
    if annotations is None:
        return assemble.read_table(model.recipe, "train")
    data = model.recipe.data
    return read_annotations(annotations, data.root, extra_roots=data.extra_roots)


def write_lists(cleaned: LabelFindings) -> None:
    """Writes suspects.csv, drop.txt and relabel.csv, each with the most suspicious image first."""
    suspects, image_ids = cleaned.suspects, cleaned.embeddings.image_ids
    ranked, listed, renamed = suspects.ranking, cleaned.to_drop, cleaned.to_relabel
    write_text(cleaned.folder / "suspects.csv", _suspects_csv(cleaned))
    write_image_ids(cleaned.folder / "drop.txt", (image_ids[row] for row in listed))
    new_labels = ((image_ids[row], int(suspects.suggested[row])) for row in renamed)
    write_relabels(cleaned.folder / "relabel.csv", new_labels, cleaned.names)
    say(f"{len(ranked)} labels judged, most suspicious first: {cleaned.folder / 'suspects.csv'}")
    say(f"{counted(len(listed), 'image')} to drop: drop.txt; a new label for {len(renamed)} of them: relabel.csv")
    if len(listed):
        say(f"look at them, edit them, then train with data.lists.drop=[{cleaned.folder / 'drop.txt'}]")


def _suspects_csv(cleaned: LabelFindings) -> str:
    suspects, embeddings = cleaned.suspects, cleaned.embeddings
    text = io.StringIO()
    rows = line_feed_writer(text)
    rows.writerow([*_HEADER, *(_NAMES if cleaned.names else [])])
    for row in suspects.ranking:
        named = (embeddings.rows[row], *map(spreadsheet_cell, (embeddings.image_ids[row], embeddings.paths[row])))
        parts = (suspects.suspicion[row], suspects.prototype[row], suspects.confidence[row])
        classes = (int(suspects.labels[row]), int(suspects.suggested[row]))
        names = [spreadsheet_cell(cleaned.names.get(label, "")) for label in classes] if cleaned.names else []
        rows.writerow([*named, *classes, *(f"{part:.6f}" for part in parts), *names])
    return text.getvalue()
