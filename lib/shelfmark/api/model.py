"""A trained model in a Python program. Legend: N images, D embedding, C classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from shelfmark.api.options import overrides_of
from shelfmark.api.pictures import source_of
from shelfmark.core.errors import UserError
from shelfmark.data.sources import GivenSource
from shelfmark.models.plain_backbone import plain_state
from shelfmark.runtime.class_probabilities import class_probabilities
from shelfmark.runtime.image_pass import PassedBatch, evaluation_pass
from shelfmark.runtime.photographs import forgiving
from shelfmark.runtime.trained_model import TrainedModel, open_model

_NUM_NAMED = 10


@dataclass(frozen=True, eq=False)
class Model:
    """Answers for images: paths, bytes of files, PIL images, or uint8 arrays (H, W, 3) of RGB, also mixed.

    Every method reads images as `shelfmark test` and `shelfmark embed` do, and takes `batch_size` images at a time,
    by default eval.batch_size. UserError: an image cannot be read; the error names each.
    """

    trained: TrainedModel

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the C classes; numbers as text where the catalogue has no names."""
        return tuple(self.trained.class_name(label) for label in range(self.trained.num_classes))

    @property
    def backbone(self) -> str:
        """timm's name of the backbone's architecture."""
        return self.trained.recipe.model.backbone

    def embed(self, images: Iterable[Any], batch_size: int | None = None) -> np.ndarray:
        """(N, D) float32: the embedding of each image, not normalised, as `shelfmark embed` writes it."""
        dim = self.trained.network.classifier.weight.shape[1]
        return self._answered(images, batch_size, dim, _features)

    def predict(self, images: Iterable[Any], batch_size: int | None = None) -> np.ndarray:
        """(N, C) float32: the probability of each class; a row adds up to 1.

        The numbers are those of `shelfmark test --topk`: the mean over predict.views and predict.sizes_px.
        """
        return self._answered(images, batch_size, self.trained.num_classes, _probabilities)

    def backbone_state(self) -> dict[str, Tensor]:
        """The backbone's weights, on the CPU, under the names of a plain timm model with num_classes=0.

        Adapters are merged into the layers beside them. An exponent of gem pooling is left out. UserError: timm has no
        such architecture.
        """
        return plain_state(self.trained.network.backbone, self.trained.recipe.model)

    def _answered(
        self,
        images: Iterable[Any],
        batch_size: int | None,
        width: int,
        passed: Callable[[TrainedModel, GivenSource], Iterator[PassedBatch]],
    ) -> np.ndarray:
        """(N, width) float32: the values of a pass."""
        source = source_of(images, self.trained.recipe.data.max_image_bytes, self.trained.recipe.data.color_profiles)
        values = np.empty((len(source), width), dtype=np.float32)
        errors = {}
        for batch in passed(self._for_pass(len(source), batch_size), source) if len(source) else ():
            errors.update({bad.row: bad.reason for bad in batch.bad})
            if len(batch.rows):
                values[batch.rows] = batch.values.float().cpu().numpy()
        if errors:
            raise UserError(_told({source.name(row): reason for row, reason in sorted(errors.items())}, len(source)))
        return values

    def _for_pass(self, num_images: int, batch_size: int | None) -> TrainedModel:
        if batch_size is not None and batch_size < 1:
            raise UserError(f"batch_size={batch_size} is no number of images; give 1 or more.")
        model = forgiving(self.trained, num_images)
        if batch_size is None:
            return model
        evaluation = model.recipe.eval.model_copy(update={"batch_size": batch_size})
        return replace(model, recipe=model.recipe.model_copy(update={"eval": evaluation}))


def load(checkpoint: str | Path, options: Mapping[str, Any] | None = None) -> Model:
    """The model of a checkpoint folder, such as `log/shop/best_model`, ready on its device.

    options: dotted name -> value, over those that it was trained with: `{"predict.views": "ten_crop"}`.
    UserError: there is no whole checkpoint, or an option is wrong.
    """
    return Model(open_model(Path(checkpoint), overrides_of(options)))


def _features(model: TrainedModel, source: GivenSource) -> Iterator[PassedBatch]:
    return evaluation_pass(model.recipe, model.network, model.precision, source).share(alone=True)


def _probabilities(model: TrainedModel, source: GivenSource) -> Iterator[PassedBatch]:
    return class_probabilities(model, source, alone=True)


def _told(errors: Mapping[str, str], num_images: int) -> str:
    named = "; ".join(f"{name}: {reason}" for name, reason in list(errors.items())[:_NUM_NAMED])
    more = f"; and {len(errors) - _NUM_NAMED} more" if len(errors) > _NUM_NAMED else ""
    return f"{len(errors)} of {num_images} images could not be read: {named}{more}. Leave them out, or repair them."
