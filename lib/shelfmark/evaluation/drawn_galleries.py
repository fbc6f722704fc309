"""One random image of each class as the gallery, again and again. Legend: N images, D embedding."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.rng import numpy_generator
from shelfmark.core.types import Array
from shelfmark.evaluation.retrieval import scores
from shelfmark.ops.class_metrics import Scores


def drawn_gallery_scores(
    features: Array,
    labels: np.ndarray,
    ks: Iterable[int],
    num_draws: int = 10,
    metric: str = "cosine",
    seed: int = 0,
    ids: np.ndarray | None = None,
) -> Scores:
    """drawn_recall@K and drawn_map, means over the draws, each with `_std`, their standard deviation.

    In each draw one labelled image of every class is the gallery, and all others search it: the protocol of vehicle
    re-identification. None where no class has two images; `_std` is None for a single draw.
    features: (N, D). labels: (N,) int64, -1 for an image that takes no part. ids: (N,) int64, by default all different;
    rows of one id are one image, which does not find itself.
    """
    if num_draws < 1:
        raise UserError(f"num_draws={num_draws}: the gallery is drawn at least once; usual is 10.")
    ks = list(ks)
    rows, ids = np.flatnonzero(labels >= 0), np.arange(len(labels)) if ids is None else ids
    by_draw = []
    for draw in range(num_draws):
        gallery = one_of_each(labels, seed, draw)
        query = np.setdiff1d(rows, gallery)
        by_draw.append(
            scores(
                features[query], labels[query], ks, features[gallery], labels[gallery], metric, ids[query], ids[gallery]
            )
        )
    found: Scores = {}
    for name in [*(f"recall@{k}" for k in ks), "map"]:
        values = [value for one in by_draw if (value := one[name]) is not None]
        found[f"drawn_{name}"] = float(np.mean(values)) if values else None
        found[f"drawn_{name}_std"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return found | {"num_gallery_draws": num_draws}


def one_of_each(labels: np.ndarray, seed: int, draw: int) -> np.ndarray:
    """The row of one random image of each class, by rising label. labels: (N,) int64, -1 for no class."""
    order = numpy_generator(seed, "gallery of one image a class", draw).permutation(len(labels))
    classes, first = np.unique(labels[order], return_index=True)
    return order[first[classes >= 0]]
