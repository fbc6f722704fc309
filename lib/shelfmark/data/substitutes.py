"""Which training images may take the place of one that cannot be read. Legend: N images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from shelfmark.core.rng import numpy_generator
from shelfmark.data.samplers import Draw, Groups

NUM_SUBSTITUTES = 20


class Substitutes:
    """labels: (N,) int64, -1 for none. seed: of the choice, which also depends on the draw."""

    def __init__(self, labels: np.ndarray, seed: int) -> None:
        self.labels = labels
        self.seed = seed
        self._groups = Groups.of(labels, int(labels.max(initial=-1)) + 1)

    def rows_for(self, draw: Draw) -> Iterator[int]:
        """At most NUM_SUBSTITUTES rows: up to half of them of the draw's class, then rows of any class."""
        generator = numpy_generator(self.seed, "substitute", *draw)
        label = int(self.labels[draw.row])
        same_class = self._groups.of_class(label) if label >= 0 else self._groups.rows[:0]
        same_class = generator.permutation(same_class[same_class != draw.row])[: NUM_SUBSTITUTES // 2]
        yield from same_class.tolist()
        yield from generator.choice(self._groups.rows, NUM_SUBSTITUTES - len(same_class)).tolist()
