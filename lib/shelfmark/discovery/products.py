"""What a round of discovery found, product by product.

Legend: U unlabelled images, C known classes, D embedding. A group is the selected images of one label and one
cluster: one new product, or one part of a known class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shelfmark.retrieval import search

_BLOCK_ROWS = 8192


@dataclass(frozen=True, eq=False)
class FoundProducts:
    """Groups by rising label, then cluster; all arrays (groups,) but `rows` and `means`.

    labels: below num_known joined to that class, from there on a pseudo-class. clusters: -1 where an earlier round
    selected the images. rows: of each its places among the U images, densest first. cluster_sizes: images of the
    cluster, selected or not. density: the mean of its images. means: (groups, D) of length 1.
    cohesion: mean cosine of its images with their mean. nearest_known: the class whose mean has the greatest cosine,
    known_cosine, with the group's. nearest_other, other_cosine: likewise among the other pseudo-classes, as a group.
    Where there is none, the place is -1 and the cosine NaN.
    """

    num_known: int
    labels: np.ndarray
    clusters: np.ndarray
    rows: tuple[np.ndarray, ...]
    cluster_sizes: np.ndarray
    density: np.ndarray
    means: np.ndarray
    cohesion: np.ndarray
    nearest_known: np.ndarray
    known_cosine: np.ndarray
    nearest_other: np.ndarray
    other_cosine: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_images(self) -> np.ndarray:
        """(groups,) int64 selected images."""
        return np.array([len(rows) for rows in self.rows], dtype=np.int64)

    @property
    def is_new(self) -> np.ndarray:
        """(groups,) bool: a pseudo-class."""
        return self.labels >= self.num_known

    @property
    def margin(self) -> np.ndarray:
        """(groups,) cohesion less the cosine with the nearest known class or other new product: small is doubtful."""
        rivals = np.fmax(self.known_cosine, self.other_cosine)
        return self.cohesion - np.where(np.isnan(rivals), 0, rivals)

    def largest(self) -> np.ndarray:
        """New products, most images first."""
        return self._ranked(-self.num_images, self.is_new)

    def densest(self) -> np.ndarray:
        """New products, greatest density first."""
        return self._ranked(-self.density, self.is_new)

    def most_doubtful(self) -> np.ndarray:
        """New products, smallest margin first."""
        return self._ranked(self.margin, self.is_new)

    def joined(self) -> np.ndarray:
        """Groups that joined a known class, most images first."""
        return self._ranked(-self.num_images, ~self.is_new)

    def _ranked(self, order: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        ranking = np.argsort(order, kind="stable")
        return ranking[wanted[ranking]]


def found_products(
    features: np.ndarray,
    labels: np.ndarray,
    clusters: np.ndarray,
    density: np.ndarray,
    known_means: np.ndarray,
) -> FoundProducts:
    """The groups of the selected images.

    features: (U, D); labels, clusters: (U,) int64, labels -1 for an image that was not selected; density: (U,).
    known_means: (C, D), a row of zeros for a class without images.
    """
    num_known = len(known_means)
    selected = np.flatnonzero(labels >= 0)
    keys, group = np.unique(np.stack([labels[selected], clusters[selected]]), axis=1, return_inverse=True)
    # From group to group, and in a group from dense to thin; of equally dense ones the first.
    order = np.lexsort((-density[selected], group))
    ends = np.cumsum(np.bincount(group, minlength=keys.shape[1]))
    rows = tuple(np.split(selected[order], ends[:-1])) if len(selected) else ()
    means = unit_means(features, selected, group, keys.shape[1])
    nearest_known, known_cosine = _nearest(means, known_means, np.flatnonzero(np.any(known_means != 0, axis=1)))
    nearest_other, other_cosine = _nearest(means, means, np.flatnonzero(keys[0] >= num_known), is_same_set=True)
    sizes = np.bincount(clusters[clusters >= 0], minlength=1)
    num_images = np.array([len(one) for one in rows], dtype=np.int64)
    return FoundProducts(
        num_known,
        labels=keys[0],
        clusters=keys[1],
        rows=rows,
        cluster_sizes=np.where(keys[1] >= 0, sizes[keys[1].clip(min=0)], num_images),
        density=np.array([density[one].mean(dtype=np.float64) for one in rows]),
        means=means,
        cohesion=_cohesion(features, rows, means),
        nearest_known=nearest_known,
        known_cosine=known_cosine,
        nearest_other=nearest_other,
        other_cosine=other_cosine,
    )


def unit_means(features: np.ndarray, rows: np.ndarray, groups: np.ndarray, num_groups: int) -> np.ndarray:
    """(num_groups, D) float64: of each group the mean direction of its vectors, of length 1; zeros for an empty group.

    features: (N, D), only `rows` (n,) of it are read; groups: (n,) in 0..num_groups-1. Every vector counts alike,
    whatever its length.
    """
    sums = np.zeros((num_groups, features.shape[1]))
    order = np.argsort(groups, kind="stable")
    for block in (order[start : start + _BLOCK_ROWS] for start in range(0, len(order), _BLOCK_ROWS)):
        present, first = np.unique(groups[block], return_index=True)
        sums[present] += np.add.reduceat(_unit(features[rows[block]]), first, axis=0)
    return _unit(sums)


def nearest_to_means(features: np.ndarray, rows: np.ndarray, groups: np.ndarray, means: np.ndarray) -> np.ndarray:
    """(groups,) int64: the one of each group's `rows` whose vector is nearest to the group's mean; -1 without a row.

    features: (N, D). rows: (n,) of the features. groups: (n,), the group of each row, 0 or above. means: (groups, D) of
    length 1, as `unit_means` gives.
    """
    nearest, best = np.full(len(means), -1, dtype=np.int64), np.full(len(means), -np.inf)
    for start in range(0, len(rows), _BLOCK_ROWS):
        block, of_block = rows[start : start + _BLOCK_ROWS], groups[start : start + _BLOCK_ROWS]
        cosines = np.einsum("nd,nd->n", _unit(features[block]), means[of_block])
        # By group, then from near to far: the first of each group is the block's candidate.
        order = np.lexsort((-cosines, of_block))
        present, first = np.unique(of_block[order], return_index=True)
        found = order[first]
        better = cosines[found] > best[present]
        best[present[better]], nearest[present[better]] = cosines[found[better]], block[found[better]]
    return nearest


def _cohesion(features: np.ndarray, rows: tuple[np.ndarray, ...], means: np.ndarray) -> np.ndarray:
    # The mean of cosines with one direction is the cosine of the mean of unit vectors.
    return np.array([float(np.mean(_unit(features[one]) @ mean)) for one, mean in zip(rows, means)])


def _nearest(
    means: np.ndarray, others: np.ndarray, candidates: np.ndarray, is_same_set: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Of each mean the nearest of others[candidates] that is not itself: its row in `others`, and their cosine."""
    rows, cosines = np.full(len(means), -1, dtype=np.int64), np.full(len(means), np.nan)
    if not len(means) or not len(candidates):
        return rows, cosines
    query_ids, gallery_ids = (np.arange(len(means)), candidates) if is_same_set else (None, None)
    found_cosines, found = search(
        means, others[candidates], k=1, metric="cosine", query_ids=query_ids, gallery_ids=gallery_ids
    )
    is_found = found[:, 0] >= 0
    rows[is_found] = candidates[found[is_found, 0]]
    cosines[is_found] = found_cosines[is_found, 0]
    return rows, cosines


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths == 0, 1, lengths)
