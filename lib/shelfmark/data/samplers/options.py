"""Options of what a batch is drawn from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import model_validator

from shelfmark.config.section import NotNegative, OneOf, Positive, Section, option
from shelfmark.data.samplers.table import SAMPLERS

SamplerName = Annotated[str, OneOf(SAMPLERS)]


class SamplingStage(Section):
    from_epoch: NotNegative = option(..., "first epoch of this sampler; epochs count from 0")
    type: SamplerName = option(..., "sampler from this epoch on")


class SamplingOptions(Section):
    type: SamplerName = option(
        "instance",
        "how the images of a batch are drawn. instance: each image once an epoch; class_balanced: each class"
        " equally often; power: a class by count**power; progressive: from instance to class_balanced over the"
        " epochs; reverse: rare classes more often; class_aware: class after class in shuffled order; pk: P"
        " classes with K images each in every batch; weighted: an image by its weight in the annotations",
    )
    images_per_class: Positive = option(
        4, "pk and class_aware: images of a class that are drawn together (K). A pk batch has batch_size / K classes"
    )
    class_weighting: Literal["uniform", "by_count"] = option(
        "uniform",
        "pk: how often a class is drawn. uniform: all classes equally often; by_count: in proportion to its"
        " training images",
    )
    power: float = option(
        0.5,
        "power: a class is drawn in proportion to count**power. 1: as instance; 0.5: square-root sampling; 0:"
        " as class_balanced",
    )
    stages: tuple[SamplingStage, ...] = option((), "other samplers from later epochs on, in rising order")

    @model_validator(mode="after")
    def _stages_are_ordered(self) -> SamplingOptions:
        epochs = [stage.from_epoch for stage in self.stages]
        if epochs != sorted(set(epochs)):
            raise ValueError(f"stages begin at epochs {epochs}; give them in rising order, each once")
        return self
