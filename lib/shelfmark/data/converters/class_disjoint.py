"""Validation on classes that training never saw, as a data set of new classes is tested."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.rng import derive_seed
from shelfmark.data.converters.pictures import Picture, class_groups, class_names
from shelfmark.data.holdout import stratified_draw


def hold_out_classes(pictures: Sequence[Picture], fraction: float, seed: int) -> tuple[list[Picture], list[Picture]]:
    """The pictures without a random `fraction` of the classes, and the pictures of these classes.

    The draw is spread evenly over the groups, where there are any; each group keeps a class. 0 holds out nothing.
    """
    if not 0 <= fraction < 1:
        raise UserError(f"--val-fraction {fraction} must lie from 0 to below 1: it is the part of the classes.")
    names = class_names(pictures)
    groups = class_groups(pictures, names) or [""] * len(names)
    _, group_numbers = np.unique(groups, return_inverse=True)
    everything = np.ones(len(names), dtype=bool)
    drawn = stratified_draw(group_numbers, everything, fraction, derive_seed(seed, "validation classes"))
    if fraction and not drawn.any():
        raise UserError(
            f"--val-fraction {fraction} of {len(names):,} training classes gives no validation class: raise it,"
            " or give 0 to validate on none."
        )
    held_out = {name for name, is_drawn in zip(names, drawn) if is_drawn}
    return (
        [picture for picture in pictures if picture.name not in held_out],
        [picture for picture in pictures if picture.name in held_out],
    )
