"""The exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch

from shelfmark.engine.options import EmaOptions
from shelfmark.models.network import Network


class WeightAverage:
    """A network of its own whose weights are the average of another's: decay * average + (1 - decay) * weights.

    The average begins with the present weights. With options.warmup the decay of update n, from 0, is
    min(decay, (1 + n) / (10 + n)), as in TensorFlow's ExponentialMovingAverage. The running statistics of batch norms
    are averaged as parameters are (so does timm's ModelEmaV3), because they belong to the averaged weights. Whole
    numbers, and constants that are not finite, are copied.
    """

    def __init__(self, network: Network, options: EmaOptions) -> None:
        self.options = options
        self.num_updates = 0
        self.network = copy.deepcopy(network)
        self.network.requires_grad_(False)
        self.network.eval()
        source, own = network.state_dict(), self.network.state_dict()
        # An infinite entry of a mask minus itself is NaN.
        averaged = [
            name for name, value in source.items() if value.is_floating_point() and bool(value.isfinite().all())
        ]
        copied = [name for name in source if name not in {*averaged}]
        self._averaged = [own[name] for name in averaged], [source[name] for name in averaged]
        self._copied = [own[name] for name in copied], [source[name] for name in copied]

    @property
    def decay(self) -> float:
        """Of the next update."""
        if not self.options.warmup:
            return self.options.decay
        return min(self.options.decay, (1 + self.num_updates) / (10 + self.num_updates))

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the present weights."""
        torch._foreach_lerp_(*self._averaged, 1 - self.decay)
        if self._copied[0]:
            torch._foreach_copy_(*self._copied)
        self.num_updates += 1

    @torch.no_grad()
    def restart(self, num_updates: int = 0) -> None:
        """The average becomes the present weights. num_updates: the updates so far, on which the warm-up depends."""
        for own, source in (self._averaged, self._copied):
            if own:
                torch._foreach_copy_(own, source)
        self.num_updates = num_updates
