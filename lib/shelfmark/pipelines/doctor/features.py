"""The features of every readable picture, by a trained network or by published weights. Legend: n pictures,
D embedding."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shelfmark.config.overrides import Override
from shelfmark.core import dist
from shelfmark.core.strings import Strings
from shelfmark.data.table import Table
from shelfmark.engine.precision import Precision
from shelfmark.models.options import ModelOptions
from shelfmark.recipe import Recipe, assemble
from shelfmark.runtime.features import features_of, model_features
from shelfmark.runtime.trained_model import open_model


def features_by_checkpoint(paths: Strings, checkpoint: Path, overrides: list[Override], folder: Path) -> np.ndarray:
    """(n, D) by a trained model. paths: (n,) absolute. folder: where they are kept, and taken from where they fit."""
    model = open_model(checkpoint, overrides)
    return np.asarray(model_features(model, _table(paths), folder).features)


def features_by_backbone(paths: Strings, recipe: Recipe, folder: Path) -> np.ndarray:
    """As `features_by_checkpoint`, by the backbone of the recipe with the weights that it begins from, and no other
    layer, since those have learned nothing."""
    model = ModelOptions(backbone=recipe.model.backbone, weights=recipe.model.weights)
    bare = recipe.model_copy(update={"model": model})
    device = dist.local_device(recipe.train.device)
    network = assemble.network(bare, 1).to(device).eval()
    precision = Precision.resolve(recipe.train.precision, device)
    made_by = f"{model.weights} {model.backbone}"
    return np.asarray(features_of(network, bare, _table(paths), folder, made_by=made_by, precision=precision).features)


def _table(paths: Strings) -> Table:
    labels = np.full(len(paths), -1, dtype=np.int64)
    return Table(paths, labels, paths, num_classes=0, root=Path("/"), sha256="")
