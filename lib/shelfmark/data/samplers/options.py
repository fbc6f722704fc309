"""Options of what a batch is drawn from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import model_validator

from shelfmark.config.section import NotNegative, OneOf, Positive, Section, option
from shelfmark.data.samplers.table import SAMPLERS

SamplerName = Annotated[str, OneOf(SAMPLERS)]


class SamplingStage(Section):
    from_epoch: NotNegative = option(..., "first epoch (from 0) that uses this sampler")
    type: SamplerName = option(..., "sampler of this stage")


class SamplingOptions(Section):
    type: SamplerName = option(
        "instance", "how a batch's images are drawn; weighted: as often as their weight in the annotations says"
    )
    images_per_class: Positive = option(4, "K of pk (batch_size / K classes are in a batch) and of class_aware")
    class_weighting: Literal["uniform", "by_count"] = option(
        "uniform", "how often pk meets a class: each as often, or in proportion to its training images"
    )
    power: float = option(0.5, "of the power sampler: a class is drawn by count**power; 0.5 is square-root sampling")
    stages: tuple[SamplingStage, ...] = option((), "switches of the sampler: the last stage that has begun rules")

    @model_validator(mode="after")
    def _stages_are_ordered(self) -> SamplingOptions:
        epochs = [stage.from_epoch for stage in self.stages]
        if epochs != sorted(set(epochs)):
            raise ValueError(f"stages begin at epochs {epochs}; give them in rising order, each once")
        return self
