"""Options of the optimizer and of its learning rate."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from shelfmark.config.section import Fraction, NotNegative, Section, option


class ScheduleOptions(Section):
    """The learning rate over the training."""

    name: Literal["multistep", "cosine", "constant"] = option(
        "cosine", "how the learning rate changes after the warm-up"
    )
    milestones_epochs: tuple[float, ...] = option((), "for multistep: epochs at which the rate is multiplied by gamma")
    gamma: float | tuple[float, ...] = option(
        0.1, "for multistep: the factor at every milestone, or a list with one factor for each milestone"
    )
    final_factor: Fraction = option(0.0, "for cosine: the last rate, as a share of optim.lr")
    warmup_epochs: float = option(
        0.0, "length of the warm-up, in epochs. The rate rises linearly from warmup_factor * optim.lr to optim.lr", ge=0
    )
    warmup_steps: NotNegative = option(
        0, "length of the warm-up, in steps. Only one of warmup_steps and warmup_epochs can be set"
    )
    warmup_factor: Fraction = option(0.01, "first rate of the warm-up, as a share of optim.lr")
    per_epoch: bool = option(
        False,
        "for cosine: whether the rate changes once an epoch after the warm-up, so that the whole last"
        " epoch has final_factor. false: it changes every step",
    )

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
    """The optimizer and the learning rate."""

    name: Literal["sgd", "adam", "adamw"] = option("sgd", "optimizer")
    lr: float = option(0.1, "learning rate. It is used as given, whatever the size of the batch", gt=0)
    momentum: float = option(0.9, "for sgd: momentum", ge=0, lt=1)
    nesterov: bool = option(False, "for sgd: whether the momentum is Nesterov's")
    betas: tuple[float, float] = option((0.9, 0.999), "for adam and adamw: betas")
    weight_decay: float = option(
        1e-4, "weight decay. It leaves out norm layers and biases, unless decay_norm_and_bias is true", ge=0
    )
    decay_norm_and_bias: bool = option(False, "whether weight decay applies to norm layers and biases too")
    non_backbone_lr_factor: float = option(
        1.0,
        "factor of the learning rate for everything outside of the backbone: embedding layer, classifier and heads",
        gt=0,
    )
    layer_decay: float = option(
        1.0,
        "layer-wise decay of the learning rate: each layer of the backbone has the rate of the next layer"
        " times this factor. 0.75 is usual. 1: off",
        gt=0,
        le=1,
    )
    clip_norm: float = option(
        0.0,
        "largest L2 norm of the gradient of all parameters together. A larger gradient is scaled down to it. 0: off",
        ge=0,
    )
    schedule: ScheduleOptions = ScheduleOptions()
