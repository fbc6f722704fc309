"""Images for visits of classes, from a random permutation of the images of each."""

from __future__ import annotations

import numpy as np

from shelfmark.data.samplers.groups import Groups
from shelfmark.data.samplers.shuffle import shuffled_within


def images_of_visits(groups: Groups, visits: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """`size` rows for each visit of a class: (visits, size) int64.

    visits: (visits,) classes that have images. A class gives the images of a random permutation, `size` at each visit,
    and takes a new permutation when fewer are left. So no image comes again within a permutation. A class with fewer
    than `size` images repeats them within the visit.
    """
    visits_per_permutation = np.maximum(groups.counts // size, 1)
    num_visits = np.bincount(visits, minlength=len(groups.counts))
    num_permutations = -(-num_visits // visits_per_permutation)
    classes = np.repeat(np.arange(len(num_permutations)), num_permutations)
    images, starts = _permutations(groups, classes, generator)

    earlier = _earlier_visits(visits, num_visits)
    permutation = (np.cumsum(num_permutations) - num_permutations)[visits] + earlier // visits_per_permutation[visits]
    first = earlier % visits_per_permutation[visits] * size
    place = (first[:, None] + np.arange(size)) % groups.counts[visits][:, None]
    return images[starts[permutation][:, None] + place]


def _permutations(groups: Groups, classes: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """For each entry of `classes` all its rows, shuffled: (rows, where each permutation starts in them)."""
    sizes = groups.counts[classes]
    starts = np.cumsum(sizes) - sizes
    permutation = np.repeat(np.arange(len(classes)), sizes)
    shuffled = shuffled_within(permutation, generator)
    return groups.rows[shuffled + (groups.starts[classes] - starts)[permutation]], starts


def _earlier_visits(visits: np.ndarray, num_visits: np.ndarray) -> np.ndarray:
    """For each visit, the number of earlier visits of the same class: (visits,)."""
    by_class = np.argsort(visits, kind="stable")
    earlier = np.empty_like(visits)
    earlier[by_class] = np.arange(len(visits)) - np.repeat(np.cumsum(num_visits) - num_visits, num_visits)
    return earlier
