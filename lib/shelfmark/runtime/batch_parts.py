"""The parts in which a batch passes the network, held against the processes and the batch norms of a run."""

from __future__ import annotations

import math

from shelfmark.core import dist
from shelfmark.core.errors import UserError
from shelfmark.core.log import warn
from shelfmark.models.network import Network
from shelfmark.recipe import Recipe


def check_parts(recipe: Recipe, network: Network) -> None:
    """Warns where batch norm makes a batch in parts another one.

    UserError: there are more parts than images, or batch norm cannot learn from the smallest part.
    """
    share, num_parts = recipe.train.batch_size // dist.world_size(), recipe.train.accumulate_steps
    if num_parts > share:
        raise UserError(
            f"train.accumulate_steps={num_parts}: each of {dist.world_size()} processes has {share} images of a batch,"
            f" which make at most {share} parts. Lower it, or raise train.batch_size."
        )
    # Before a pass for stored features, which may take long.
    network.require_statistics_of(share // num_parts)
    option, num_images = "grad_cache", recipe.train.grad_cache
    if num_parts > 1:
        option, num_images = "accumulate_steps", math.ceil(share / num_parts)
    if 0 < num_images < share and network.learns_statistics:
        warn(
            f"train.{option}={getattr(recipe.train, option)}: batch norm normalises each part of at most {num_images}"
            " images by itself, so training differs from that of whole batches; model.freeze_bn=true makes them equal."
        )
