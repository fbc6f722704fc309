"""Images kept out of training, so that a score is never taken on an image that was learned."""

from __future__ import annotations

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.rng import numpy_generator
from shelfmark.core.string_places import StringPlaces
from shelfmark.data.identity import image_numbers, keys_under
from shelfmark.data.table import Table


def leaked_rows(train: Table, val: Table) -> np.ndarray:
    """(number leaked,) int64, rising: the rows of `val` whose image is also in `train`."""
    ours, theirs = (keys_under(train.root, table.paths, table.root) for table in (train, val))
    if len(ours) > len(theirs):
        # What stands in both is taken from the smaller side, which is the one that is sorted.
        places = StringPlaces(theirs).of(ours)
        ours = theirs.take(np.unique(places[places >= 0]))
    return np.flatnonzero(StringPlaces(ours).of(theirs) >= 0)


def hold_out(train: Table, rows: np.ndarray | None = None, fraction: float = 0.2, seed: int = 0) -> tuple[Table, Table]:
    """`train` without some labelled images, and those images.

    rows: the candidates, for instance `leaked_rows(val, train)`; None takes all rows.
    fraction: part of the candidates to hold out, the same in every class but for rounding. A class keeps at least one
    training image. Rows of one image go to the same side.
    """
    if not 0 < fraction < 1:
        raise UserError(f"The fraction to hold out is {fraction}; it must lie between 0 and 1, both excluded.")
    image = image_numbers(train.paths, train.root)
    candidates = np.zeros(len(train), dtype=bool)
    candidates[slice(None) if rows is None else rows] = True
    # One row represents each image: a labelled candidate, if the image has one.
    order = np.lexsort((train.labels < 0, ~candidates))
    representative = order[np.unique(image[order], return_index=True)[1]]
    drawn = stratified_draw(train.labels[representative], candidates[representative], fraction, seed)
    held = drawn[image]
    if not held.any():
        raise UserError(
            f"No image can be held out: {int(candidates.sum())} candidates at a fraction of {fraction} leave less than"
            " one, or every class has a single image. Raise the fraction, or give separate validation annotations."
        )
    return train.take(~held), train.take(held)


def stratified_draw(labels: np.ndarray, candidates: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """(N,) bool: a random `fraction` of the labelled candidates, spread evenly over the classes.

    labels: (N,) int64, -1 for none. candidates: (N,) bool. A class with n candidates gives floor or ceil of
    fraction * n images, so that small classes give their share on average and the total is right. One image of each
    class is never drawn.
    """
    generator = numpy_generator(seed, "hold out")
    shuffled = generator.permutation(np.flatnonzero(candidates & (labels >= 0)))
    of = labels[shuffled]
    # A stable sort takes a few passes over numbers of 16 bits, and a comparison at a time over longer ones.
    by_class = shuffled[np.argsort(of.astype(np.uint16) if of.max(initial=0) < 1 << 16 else of, kind="stable")]
    counts = np.bincount(of)
    present = np.flatnonzero(counts)
    counts = counts[present]
    # Systematic rounding: consecutive differences of a rounded running total are floor or ceil of each share.
    # Rounding to 9 places undoes float noise such as 0.2 * 15 = 3.0000000000000004.
    totals = np.floor(np.round(np.cumsum(counts) * fraction, 9) + generator.random())
    quotas = np.diff(totals, prepend=0.0).astype(np.int64)
    all_counts = np.bincount(labels[labels >= 0], minlength=1)
    quotas = np.minimum(quotas, all_counts[present] - 1)
    ends_of_drawn = np.cumsum(counts) - counts + quotas
    drawn = np.zeros(len(labels), dtype=bool)
    drawn[by_class[np.arange(len(by_class)) < np.repeat(ends_of_drawn, counts)]] = True
    return drawn
