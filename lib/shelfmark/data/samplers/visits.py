"""Which classes meet in which batch. Legend: C classes, S steps."""

from __future__ import annotations

import numpy as np


def visits_by_count(
    counts: np.ndarray, num_batches: int, classes_per_batch: int, generator: np.random.Generator
) -> np.ndarray:
    """How many batches hold each class, in proportion to its images: (C,) int64, at most S each.

    The visits sum to S * classes_per_batch. counts: (C,) int64 images, each above 0; C is at least classes_per_batch. A
    share that is no whole number is rounded up or down at random, and right on average. A class gets at most S visits;
    the visits beyond go to the other classes.
    """
    visits = np.zeros(len(counts), dtype=np.int64)
    open_classes = np.arange(len(counts))
    left = num_batches * classes_per_batch
    while True:
        total = int(counts[open_classes].sum())
        is_full = counts[open_classes] * left > num_batches * total
        if not is_full.any():
            break
        visits[open_classes[is_full]] = num_batches
        left -= num_batches * int(is_full.sum())
        open_classes = open_classes[~is_full]
    if left:
        # Systematic rounding in whole numbers: differences of a rounded running total, from a random start.
        order = generator.permutation(open_classes)
        totals = (counts[order].cumsum() * left + generator.integers(total)) // total
        visits[order] = np.diff(totals, prepend=0)
    return visits


def spread_visits(
    visits: np.ndarray, num_batches: int, classes_per_batch: int, generator: np.random.Generator
) -> np.ndarray:
    """The classes of each batch: (S, classes_per_batch) int64. Class c is in visits[c] batches, drawn at random.

    visits: (C,), at most S each, which sum to S * classes_per_batch.
    """
    order = generator.permutation(len(visits))
    # Row p is place p of all batches. A class fills part of a row, or the end of one row and the beginning of the next.
    places = np.repeat(order, visits[order]).reshape(classes_per_batch, num_batches)
    batches = np.empty((num_batches, classes_per_batch), dtype=np.int64)
    last, taken = -1, np.empty(0, dtype=np.int64)
    for place, classes in enumerate(places):
        columns = generator.permutation(num_batches)
        num_more = int((classes == last).sum())
        if num_more:
            # The class is in some batches already, at their place before: it gets other batches here.
            first = columns[~np.isin(columns, taken)][:num_more]
            columns = np.concatenate([first, columns[~np.isin(columns, first)]])
        batches[columns, place] = classes
        last = int(classes[-1])
        taken = columns[classes == last]
    return batches
