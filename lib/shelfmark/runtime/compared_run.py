"""One of several runs that are compared: its model, its images, its answers, and what it recorded.

Legend: N images, D embedding.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shelfmark.config.overrides import Override
from shelfmark.core.contracts import Embeddings
from shelfmark.core.together import from_main
from shelfmark.data.class_map import ClassList
from shelfmark.data.table import Table
from shelfmark.engine.checkpoint_folder import MODEL
from shelfmark.engine.metrics_log import read_metrics
from shelfmark.evaluation.classification import Predictions, predict_from_features
from shelfmark.recipe.frozen_epochs import cached_around
from shelfmark.runtime.features import model_features
from shelfmark.runtime.run_config import RunConfig, run_config
from shelfmark.runtime.splits import read_evaluation
from shelfmark.runtime.stored_features import STORED, feature_facts, fitting_features
from shelfmark.runtime.trained_model import TrainedModel, open_model, tell_source

COMPARED = "comparison"
"""The folder in a run for features that a comparison had to compute."""


_LONGEST_NAME = 30
"""In characters: two or three names of this length stand beside each other in a table."""


@dataclass(frozen=True)
class ComparedRun:
    """name: of `names_of`. val, retrieval: its images, of which at least one is there."""

    name: str
    model: TrainedModel
    val: Table | None
    retrieval: Table | None

    @property
    def classes(self) -> ClassList:
        """Its classes, which messages call by the run's name."""
        return ClassList(self.model.num_classes, self.model.class_names, self.name)

    @property
    def record_folders(self) -> list[Path]:
        """The folders that may tell how it was trained: of a recalibrated model, those of the run that it came from."""
        return [self.model.run_folder, *reversed(self.model.earlier_folders)]

    @property
    def config(self) -> RunConfig:
        return run_config(self.model.checkpoint, self.record_folders)

    def features(self, table: Table, name: str) -> Embeddings | None:
        """The table's features, stored or by a pass over the images; None in all processes but the first.

        name: val or retrieval.
        """
        taken: list[Embeddings] = []

        def look() -> bool:
            model = self.model
            facts = feature_facts(model.recipe, table, model.hashes, model.precision.name, "centre")
            found = fitting_features(name, table, model.recipe, facts, self._stored_in)
            taken.extend([] if found is None else [found])
            return found is not None

        if from_main(look):
            return taken[0] if taken else None
        return model_features(self.model, table, self._own_folder / name)

    @property
    def _own_folder(self) -> Path:
        return self.model.run_folder / COMPARED / self.model.checkpoint.folder.name

    @property
    def _stored_in(self) -> Sequence[Path]:
        run = self.model.run_folder
        evaluations = sorted(run.parent.glob(f"{escape(run.name)}/evaluation*/{STORED}"))
        earlier = [folder / STORED for folder in self.model.earlier_folders]
        return [run / STORED, *earlier, *evaluations, self._own_folder]


def names_of(given: Sequence[str]) -> list[str]:
    """What runs are called, by the paths that the user gave: as given, without the folders that all of them share where
    one is too long for a table."""
    parts = [Path(name).parts for name in given]
    if max(map(len, given)) <= _LONGEST_NAME or len(set(parts)) < len(parts):
        return list(given)
    shared = 0
    while all(len(one) > shared + 1 for one in parts) and len({one[: shared + 1] for one in parts}) == 1:
        shared += 1
    return [str(Path(*one[shared:])) for one in parts]


def open_run(name: str, checkpoint: Path, overrides: Sequence[Override]) -> ComparedRun:
    """The run of a checkpoint. UserError: it has neither val nor retrieval images."""
    model = open_model(checkpoint, overrides)
    tell_source(model)
    val, retrieval = read_evaluation(model)
    return ComparedRun(name, model, val, retrieval)


def predictions(model: TrainedModel, features: Embeddings) -> Predictions:
    """The answers of the model's classifier to stored features (N, D)."""
    with torch.inference_mode():
        return predict_from_features(
            features.features, features.labels, model.network.logits, model.num_classes, model.precision.device
        )


def at(features: Embeddings, places: np.ndarray) -> Embeddings:
    """The rows of features at `places` (n,)."""
    if np.array_equal(places, np.arange(len(features))):
        return features
    return Embeddings(
        features.features[places],
        features.labels[places],
        features.image_ids.take(places),
        features.paths.take(places),
        features.manifest,
        features.rows[places],
        None if features.boxes is None else features.boxes[places],
    )


def run_facts(run: ComparedRun) -> dict[str, Any]:
    """What a model is, and what its run recorded of speed and memory; None where it did not.

    train_features_per_s: in epochs on stored features, which are no measure of training on images.
    """
    model, manifest = run.model, run.model.checkpoint.manifest
    records = next((found for folder in run.record_folders if (found := read_metrics(folder / "metrics.jsonl"))), [])
    of_features = [one for one in records if cached_around(model.recipe, one["epoch"]) is not None]
    of_images = [one for one in records if cached_around(model.recipe, one["epoch"]) is None]
    return {
        "name": run.name,
        "checkpoint": model.checkpoint.folder,
        "step": manifest["step"],
        "epoch": manifest["epoch"],
        "num_classes": model.num_classes,
        "num_train_images": int(model.counts.sum()),
        "recalibrations": [step["method"] for step in model.recalibrations],
        "num_parameters": sum(weight.numel() for weight in model.network.parameters()),
        "weights_bytes": manifest["files"][MODEL]["size_bytes"],
        "train_images_per_s": _median(of_images, "epoch", "images_per_s"),
        "train_features_per_s": _median(of_features, "epoch", "images_per_s"),
        "val_images_per_s": _median(records, "val", "images_per_s"),
        "peak_memory_bytes": max(_values(records, "epoch", "peak_memory_bytes"), default=None),
    }


def _median(records: Sequence[dict[str, Any]], kind: str, name: str) -> float | None:
    found = _values(records, kind, name)
    return statistics.median(found) if found else None


def _values(records: Sequence[dict[str, Any]], kind: str, name: str) -> list[float]:
    return [one[name] for one in records if one["kind"] == kind and isinstance(one.get(name), int | float)]
