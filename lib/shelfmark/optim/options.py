"""Options of the optimizer and of its learning rate."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from shelfmark.config.section import Fraction, NotNegative, Section, option


class ScheduleOptions(Section):
    name: Literal["multistep", "cosine", "constant"] = option("cosine", "shape of the learning rate after warm-up")
    milestones_epochs: tuple[float, ...] = option((), "multistep: where the rate is multiplied by gamma")
    gamma: float | tuple[float, ...] = option(0.1, "multistep: the factor, or one factor for each milestone")
    final_factor: Fraction = option(0.0, "cosine: the last rate, as a part of optim.lr")
    warmup_epochs: float = option(0.0, "linear rise from warmup_factor to 1", ge=0)
    warmup_steps: NotNegative = option(0, "the same in steps; set one of the two")
    warmup_factor: Fraction = option(0.01, "first rate of the warm-up, as a part of optim.lr")
    per_epoch: bool = option(False, "cosine: one rate for each epoch after the warm-up, the last in the last one")

    @model_validator(mode="after")
    def _one_length_and_one_shape(self) -> ScheduleOptions:
        if self.warmup_steps and self.warmup_epochs:
            raise ValueError(
                f"warmup_steps={self.warmup_steps} and warmup_epochs={self.warmup_epochs:g} both say how long the"
                " warm-up lasts; set one of them to 0"
            )
        if self.per_epoch and self.name != "cosine":
            raise ValueError(f"per_epoch=true is an option of cosine; name={self.name} has no rate for each step")
        return self


class OptimOptions(Section):
    name: Literal["sgd", "adam", "adamw"] = option("sgd", "optimizer")
    lr: float = option(0.1, "learning rate at the global batch size; no hidden scaling", gt=0)
    momentum: float = option(0.9, "sgd", ge=0, lt=1)
    nesterov: bool = option(False, "sgd")
    betas: tuple[float, float] = option((0.9, 0.999), "adam and adamw")
    weight_decay: float = option(1e-4, "on every parameter that it reaches (see decay_norm_and_bias)", ge=0)
    decay_norm_and_bias: bool = option(False, "whether weight decay reaches norm layers and biases too")
    non_backbone_lr_factor: float = option(1.0, "factor on lr for everything but the backbone", gt=0)
    layer_decay: float = option(
        1.0, "each layer of the backbone learns so many times as fast as the one above it; usual is 0.75", gt=0, le=1
    )
    clip_norm: float = option(0.0, "largest L2 norm of the whole gradient; 0 is off", ge=0)
    schedule: ScheduleOptions = ScheduleOptions()
