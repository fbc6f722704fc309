"""The smooth step that counts how many competitors stand before a candidate.

Legend: B queries, p positives or other candidates, g gallery rows or other competitors.
"""

from __future__ import annotations

import torch
from torch import Tensor

SATURATION = 50.0
"""The step is constant, and its slope exactly 0, where the scaled difference is beyond this."""


class SoftSteps:
    """Steps and slopes of one tile after another, in three buffers that all tiles share."""

    def __init__(self, num_elements: int, like: Tensor, with_slope: bool) -> None:
        self._buffers = [like.new_empty(num_elements) for _ in range(3 if with_slope else 1)]
        self._with_slope = with_slope

    def __call__(self, candidates: Tensor, competitors: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        """sg(u) and sg'(u) for u = competitor - candidate; both (B, p, g).

        candidates: (B, p), competitors: (B, g): similarities over temperature; they may be finer than the buffers.
        counted: 1 or 0, broadcast over the tile; 0 makes both 0.
        The results live until the next call; without slopes the second is the first.
        sg(u) = 1 / (1 + exp(-clip(u, -50, 50))). Its slope is taken as exp(-u) sg(u)^2 because sg (1 - sg)
        loses all digits where sg is near 1.
        """
        shape = (*candidates.shape, competitors.shape[1])
        views = [buffer[: shape[0] * shape[1] * shape[2]].view(shape) for buffer in self._buffers]
        lead = torch.sub(candidates[:, :, None], competitors[:, None, :], out=views[0])
        if not self._with_slope:
            step = lead.clamp_(-SATURATION, SATURATION).exp_().add_(1).reciprocal_().mul_(counted)
            return step, step
        power = torch.clamp(lead, -SATURATION, SATURATION, out=views[1])
        unsaturated = lead.eq_(power)
        power.exp_()
        step = torch.add(power, 1, out=views[2]).reciprocal_().mul_(counted)
        slope = power.mul_(step).mul_(step).mul_(unsaturated)
        return step, slope
