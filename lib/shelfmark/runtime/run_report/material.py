"""All that a report looks at, opened once. Legend: C classes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from shelfmark.core.contracts import Embeddings
from shelfmark.data.class_map import matched
from shelfmark.data.sources import ImageSource
from shelfmark.data.table import Table
from shelfmark.recipe import assemble
from shelfmark.reports.run_page.buckets import bucket_masks
from shelfmark.runtime.run_report.predicted import Predicted, predicted
from shelfmark.runtime.run_report.stored_run import StoredRun, or_none
from shelfmark.runtime.trained_model import TrainedModel


@dataclass(frozen=True, eq=False)
class Material:
    """val, retrieval: the tables that the run is scored on, with their features; None where it has none.

    given_train: the training table where it is open already. unopened: why the images of the evaluation cannot be
    opened; '' if they can.
    """

    run: StoredRun
    model: TrainedModel
    val: Table | None
    val_features: Embeddings | None
    retrieval: Table | None
    retrieval_features: Embeddings | None
    given_train: Table | None = None
    unopened: str = ""

    @property
    def checkpoint(self) -> Path:
        return self.model.checkpoint.folder

    @cached_property
    def train(self) -> Table | None:
        """The training images by the model's classes; None where the annotations are gone."""
        if self.given_train is not None:
            return self.given_train
        recipe = self.model.recipe
        return or_none(
            lambda: matched(assemble.read_table(recipe, "train", num_classes=0), "train", self.model.classes)
        )

    @cached_property
    def predicted(self) -> Predicted | None:
        """The classifier's answers on val, or on a sample of it."""
        features = self.val_features
        if features is None or not (features.labels >= 0).any():
            return None
        return predicted(self.model, features)

    @cached_property
    def groups(self) -> dict[str, np.ndarray]:
        """many, medium, few -> (C,) bool."""
        limits = self.model.recipe.eval
        return bucket_masks(self.model.counts, limits.many, limits.few)

    def source(self, table: Table) -> ImageSource:
        """The pictures of a table."""
        return assemble.image_source(self.model.recipe, table)
