"""Training on stored features with every class as frequent as any other. Legend: N images, C classes, D embedding."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shelfmark.calibration.calibrated import rows_of
from shelfmark.core.errors import UserError
from shelfmark.core.rng import derive_seed
from shelfmark.core.types import Array
from shelfmark.data.samplers import SamplingOptions, build_order
from shelfmark.losses import CrossEntropy
from shelfmark.ops.labelled import labelled_rows
from shelfmark.optim import LearningRate, ScheduleOptions

_MOMENTUM = 0.9


@dataclass(frozen=True, kw_only=True)
class BalancedTraining:
    """Cross-entropy on class-balanced batches by SGD with momentum, its rate half a cosine wave down to 0.

    The classes of a batch are drawn evenly from those with images, as by the sampler `class_balanced`. An epoch draws
    as many images as there are. num_epochs: raised until there are min_steps steps, for small sets. lr: the first rate,
    relative to the largest that the curvature of the loss allows, so that it depends neither on the features' scale nor
    on C. Everything follows from the seed.
    """

    num_epochs: int = 10
    min_steps: int = 500
    batch_size: int = 512
    lr: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("num_epochs", 1), ("min_steps", 0), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} must be {least} or above")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr={self.lr} must be a finite number above 0; usual is 1")

    def run(
        self,
        role: str,
        parameters: Sequence[Tensor],
        logits: Callable[[Tensor], Tensor],
        mean_square: float,
        features: Array,
        labels: Tensor,
        num_classes: int,
    ) -> None:
        """Trains `parameters`, from which `logits` computes the logits, to predict the labels of the features.

        role: names the random draws. logits: features (n, D) -> (n, C). mean_square: of the factors by which a logit
        multiplies the parameters. features: (N, D). labels: (N,) in 0..C-1, on the CPU.
        """
        batch_size = min(self.batch_size, len(labels))
        steps_per_epoch = len(labels) // batch_size
        num_epochs = max(self.num_epochs, math.ceil(self.min_steps / steps_per_epoch))
        # A class has a share 1 / C of a balanced batch, and the loss's curvature in its row is at most about that.
        base = self.lr * len(labels.unique()) / mean_square
        rate = LearningRate(base, ScheduleOptions(), steps_per_epoch, num_epochs)
        optimizer = torch.optim.SGD(parameters, lr=base, momentum=_MOMENTUM)
        sampling, seed = SamplingOptions(type="class_balanced"), derive_seed(self.seed, role)
        order = build_order(sampling, labels.numpy(), num_classes, batch_size, seed)
        like, loss = parameters[0], CrossEntropy()
        batches = (rows for epoch in range(num_epochs) for rows in torch.from_numpy(order.rows(epoch)))
        for step, rows in enumerate(batches):
            batch = torch.as_tensor(rows_of(features, rows)).to(like.device, like.dtype)
            optimizer.param_groups[0]["lr"] = rate.at(step)
            optimizer.zero_grad()
            with torch.enable_grad(), torch.autocast(like.device.type, enabled=False):
                # Weights that are not finite are an error after the training, which names this training's lr.
                checked = labelled_rows(
                    logits(batch), labels[rows].to(like.device), "logits", num_classes, raises=False
                )
                loss.mean(checked).backward()
            optimizer.step()
        if not all(parameter.isfinite().all() for parameter in parameters):
            raise UserError(
                f"{role}: the training has diverged, or the features hold NaN; lr={self.lr} may be too high."
            )
