"""Options of what a batch is drawn from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import model_validator

from shelfmark.config.section import NotNegative, OneOf, Positive, Section, option
from shelfmark.data.samplers.table import SAMPLERS

SamplerName = Annotated[str, OneOf(SAMPLERS)]


class SamplingStage(Section):
    """A sampler, from an epoch on."""

    from_epoch: NotNegative = option(..., "first epoch with this sampler. Epochs count from 0")
    type: SamplerName = option(..., "sampler from this epoch on, as sampling.type")


class SamplingOptions(Section):
    """How the images of an epoch are drawn."""

    type: SamplerName = option(
        "instance",
        "how the images of an epoch are drawn. instance: each image once. class_balanced: each class"
        " equally often. power: each class in proportion to count**power, with count its number of"
        " training images. progressive: from instance in the first epoch to class_balanced in the last."
        " reverse: the fewer images a class has, the more often it is drawn. class_aware: images_per_class"
        " images of one class, then of the next, with the classes in random order. pk: in each batch, P"
        " classes with K images each. weighted: each image in proportion to its weight in the annotations."
        " keyed: each image once, as instance, in an order that takes no memory, for tens of millions of images",
    )
    images_per_class: Positive = option(
        4,
        "for pk and class_aware: number of images of a class that are drawn together (K). A pk batch has"
        " batch_size / K classes (P)",
    )
    class_weighting: Literal["uniform", "by_count"] = option(
        "uniform",
        "for pk: how often a class is drawn. uniform: all classes equally often. by_count: in proportion"
        " to its number of training images",
    )
    power: float = option(
        0.5,
        "for power: the exponent of count**power. 1: as instance. 0.5: square-root sampling. 0: as class_balanced",
    )
    stages: tuple[SamplingStage, ...] = option((), "other samplers for later epochs, in the order of from_epoch")

    @model_validator(mode="after")
    def _stages_are_ordered(self) -> SamplingOptions:
        epochs = [stage.from_epoch for stage in self.stages]
        if epochs != sorted(set(epochs)):
            raise ValueError(f"stages begin at epochs {epochs}; give them in rising order, each once")
        return self
