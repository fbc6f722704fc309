"""Every image as often as its weight says."""

from __future__ import annotations

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.rng import numpy_generator
from shelfmark.data.samplers.plan import EpochPlan, PlannedOrder


class WeightedOrder(PlannedOrder):
    """An image of weight w is drawn w / (sum of weights) * (draws of the epoch) times, rounded up or down by chance.

    With equal weights and as many draws as images it is a shuffled pass over all of them.

    Systematic sampling: equidistant points from a random start, over the images in a random order, each as wide as its
    weight. Independent draws would have the same mean, and miss a third of the images in every epoch.
    """

    def __init__(self, plan: EpochPlan) -> None:
        super().__init__(plan)
        rows = plan.groups.rows
        self.weights = np.ones(len(rows)) if plan.weights is None else plan.weights[rows].astype(np.float64)
        if not self.weights.sum() > 0:
            raise UserError(
                "sampling.type=weighted: the labelled images' weights in the training annotations add up to 0,"
                " so none would be drawn. Give some of them a weight above 0."
            )

    def rows(self, epoch: int) -> np.ndarray:
        generator = numpy_generator(self.plan.seed, "sampler_weighted", epoch)
        num_draws = self.plan.num_draws
        order = generator.permutation(len(self.weights))
        ends = np.cumsum(self.weights[order])
        points = (np.arange(num_draws) + generator.random()) * (ends[-1] / num_draws)
        # Rounding may put the last point behind every image; an image of weight 0 has no width, so no point may hit it.
        places = np.searchsorted(ends, np.minimum(points, np.nextafter(ends[-1], 0)), side="right")
        rows = self.plan.groups.rows[order[places]]
        generator.shuffle(rows)
        return self.plan.batches(rows)
