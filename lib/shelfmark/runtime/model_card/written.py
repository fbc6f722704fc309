"""Writes the model card of a checkpoint into its folder."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shelfmark.core.files import write_text
from shelfmark.core.folders import CARD
from shelfmark.core.score_names import CLASS_SCORES
from shelfmark.core.wording import counted
from shelfmark.engine.checkpoint import load_checkpoint
from shelfmark.recipe.of_checkpoint import recipe_of
from shelfmark.recipe.untrained import leaves_classifier_untrained
from shelfmark.runtime.model_card.card import Measured, WorstClass, model_card
from shelfmark.runtime.trained_model import recalibrations

_NUM_WORST = 10


def write_card(folder: Path, scores: Mapping[str, Any] | None, on: str = "", per_class: Path | None = None) -> Path:
    """README.md in the checkpoint's folder, beside what its manifest vouches for.

    scores: as summary.json, None where nothing was measured. on: what they were measured on; by default the val images.
    per_class: the run's per_class.csv, for the classes that are answered worst.
    """
    checkpoint = load_checkpoint(folder)
    manifest, measured = checkpoint.manifest, None
    is_untrained = leaves_classifier_untrained(recipe_of(checkpoint)) and not recalibrations(manifest)
    if scores and is_untrained:
        of_vectors = {name: value for name, value in scores.items() if not name.startswith(CLASS_SCORES)}
        measured = Measured(of_vectors, on or _val(scores), is_classifier_untrained=True)
    elif scores:
        measured = Measured(scores, on or _val(scores), worst_classes(manifest, per_class))
    card = folder / CARD
    write_text(card, model_card(manifest, measured, folder))
    return card


def worst_classes(manifest: Mapping[str, Any], per_class: Path | None) -> list[WorstClass]:
    """The classes with the lowest accuracy, at most ten; of equals those with more pictures. [] without the file."""
    if per_class is None or not per_class.is_file():
        return []
    found, names = [], manifest["class_names"]
    with open(per_class, encoding="utf-8", errors="surrogateescape", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["accuracy"]:
                label = int(row["class_id"])
                name = names[label] if names else f"class {label}"
                train = int(row["train_images"] or 0)
                found.append(WorstClass(name, train, int(row["val_images"]), float(row["accuracy"])))
    imperfect = [one for one in found if one.accuracy < 1]
    return sorted(imperfect, key=lambda one: (one.accuracy, -one.num_val))[:_NUM_WORST]


def _val(scores: Mapping[str, Any]) -> str:
    number = scores.get("num_images")
    if number is None:
        return "query and gallery images of other classes or other pictures than those of the training"
    return f"{counted(int(number), 'validation image')}, which were not trained on"
