"""The probabilities that a model gives to classes. Legend: n pictures of a batch, C classes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from shelfmark.core.errors import UserError
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.sources import ImageSource
from shelfmark.runtime.image_pass import PassedBatch, views_pass
from shelfmark.runtime.trained_model import TrainedModel


def class_probabilities(
    model: TrainedModel, source: ImageSource, log: BadImageLog | None = None, alone: bool = False
) -> Iterator[PassedBatch]:
    """The batches of a pass with class probabilities (n, C): the mean over predict.views and predict.sizes_px.

    log, alone: see `ImagePass.share`.
    """
    recipe = model.recipe
    sizes = recipe.predict.sizes_px or (recipe.data.input_size_px,)
    passes = [
        views_pass(recipe, model.network, model.precision, source, recipe.predict.views, size, "logits")
        for size in sizes
    ]
    # A picture that is unreadable is so at every size, so it is listed once.
    logs = [log, *[None] * (len(sizes) - 1)]
    for batches in zip(*(images.share(bad, alone) for images, bad in zip(passes, logs)), strict=True):
        first = batches[0]
        if any(not np.array_equal(batch.rows, first.rows) for batch in batches):
            raise UserError(f"predict.sizes_px={list(sizes)}: some images could be read at one of these sizes only.")
        if not len(first.rows):
            yield first
            continue
        parts = [batch.values.softmax(dim=2).mean(dim=1) for batch in batches]
        yield first._replace(values=torch.stack(parts).mean(dim=0))
