"""Options of the optimizer and of its learning rate."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from shelfmark.config.section import Fraction, NotNegative, Section, option


class ScheduleOptions(Section):
    name: Literal["multistep", "cosine", "constant"] = option(
        "cosine", "how the learning rate changes after the warm-up"
    )
    milestones_epochs: tuple[float, ...] = option((), "multistep: epochs at which the rate is multiplied by gamma")
    gamma: float | tuple[float, ...] = option(
        0.1, "multistep: the factor at every milestone, or a list with one factor for each milestone"
    )
    final_factor: Fraction = option(0.0, "cosine: the last rate as a share of optim.lr")
    warmup_epochs: float = option(
        0.0, "epochs of warm-up, in which the rate rises linearly from warmup_factor * optim.lr to optim.lr", ge=0
    )
    warmup_steps: NotNegative = option(0, "the warm-up in steps. Set this or warmup_epochs")
    warmup_factor: Fraction = option(0.01, "the first rate of the warm-up as a share of optim.lr")
    per_epoch: bool = option(
        False, "cosine: the rate changes once an epoch after the warm-up, and final_factor is reached in the last epoch"
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
    name: Literal["sgd", "adam", "adamw"] = option("sgd", "optimizer")
    lr: float = option(0.1, "learning rate at the global batch size; no hidden scaling", gt=0)
    momentum: float = option(0.9, "momentum of sgd", ge=0, lt=1)
    nesterov: bool = option(False, "sgd: use Nesterov momentum")
    betas: tuple[float, float] = option((0.9, 0.999), "betas of adam and adamw")
    weight_decay: float = option(
        1e-4, "weight decay. Norm layers and biases are left out unless decay_norm_and_bias is true", ge=0
    )
    decay_norm_and_bias: bool = option(False, "apply weight decay to norm layers and biases too")
    non_backbone_lr_factor: float = option(
        1.0,
        "factor on the learning rate of everything outside the backbone: embedding layer, classifier and heads",
        gt=0,
    )
    layer_decay: float = option(
        1.0,
        "layer-wise decay of the learning rate: the rate of each layer of the backbone is that of the layer"
        " above times this factor; usual is 0.75; 1: off",
        gt=0,
        le=1,
    )
    clip_norm: float = option(0.0, "clip the gradient of all parameters to this L2 norm; 0: off", ge=0)
    schedule: ScheduleOptions = ScheduleOptions()
