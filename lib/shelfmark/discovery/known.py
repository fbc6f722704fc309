"""Clusters that are known classes. Legend: n vectors, N images, C known classes, D embedding.

Many unlabelled pictures show products that are known. Without this, each of their clusters becomes a new class that
training then pushes away from the class it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from shelfmark.core.errors import UserError
from shelfmark.core.rng import numpy_generator
from shelfmark.core.wording import counted
from shelfmark.discovery.means import means_by_label
from shelfmark.ops.similarity import compute_dtype, dot_products

_BLOCK_VALUES = 1 << 24


@dataclass(frozen=True)
class JoinRule:
    """Join a cluster to its nearest known class where the cosine to the class mean is at least `threshold`.

    threshold: None joins nothing, and `reason` says why. precision: the share of the images so joined that are of the
    class, coverage: the share of the unlabelled images of known classes that come to their class, both as measured in
    calibration; None where there is nothing to measure.
    """

    threshold: float | None
    precision: float | None
    coverage: float | None
    reason: str = ""

    def classes(self, features: Tensor, clusters: Tensor, class_means: Tensor) -> Tensor:
        """(clusters,) int64 the known class that each cluster joins, -1 for none.

        features: (N, D). clusters: (N,) int64, 0 or above, a negative one leaves its image out. class_means: (C, D) of
        `known_means`. A class or cluster without an image is joined to nothing.
        """
        centres = known_means(features, clusters)
        if self.threshold is None:
            return torch.full((len(centres),), -1, device=features.device)
        cosine, nearest = nearest_class(centres, class_means)
        return torch.where(cosine >= self.threshold, nearest, -1)


def calibrate(
    features: Tensor,
    labels: Tensor,
    target_precision: float,
    clusters_of: Callable[[Tensor], Tensor] | None = None,
    new_share: float = 0.5,
    unlabelled_share: float = 0.4,
    repeats: int = 5,
    seed: int = 0,
) -> JoinRule:
    """The rule with the lowest threshold that reaches the precision on labelled images, treated as if they were not.

    `repeats` times, by the seed: new_share of the classes are held out whole, as if new; of each class that is kept
    unlabelled_share of the images are held out, as if unlabelled. The held-out images are clustered, the clusters are
    compared with the means of the images that stay, and an image counts as right where its cluster's nearest class is
    its own. All repeats are judged together, by images. The precision depends on how many of the images are of new
    classes, so the shares should be near those of the real pool.

    features: (N, D). labels: (N,) int64, -1 leaves an image out. clusters_of: features (n, D) -> clusters (n,), as the
    real pool is clustered; None takes the held-out images of a class as one cluster. Where no such trial can be made,
    or no threshold reaches the target, the rule joins nothing and says so.
    """
    _require_shares(target_precision, new_share, unlabelled_share, repeats)
    features, labels = features[labels >= 0], labels[labels >= 0]
    sizes = torch.bincount(labels).cpu().numpy() if len(labels) else np.zeros(0, np.int64)
    if (sizes > 0).sum() < 2 or not (sizes > 1).any():
        return JoinRule(
            None,
            None,
            None,
            "at least two known classes, one of them with two images, are needed to try what is joined rightly; "
            f"there are {counted(int((sizes > 0).sum()), 'class')}, {int((sizes > 1).sum())} with two images",
        )
    trials = [
        _trial(features, labels, *_held_out(labels, sizes, new_share, unlabelled_share, seed, repeat), clusters_of)
        for repeat in range(repeats)
    ]
    cosine, is_right, is_known = (torch.cat(parts) for parts in zip(*trials))
    return _lowest(cosine, is_right, is_known, target_precision)


def known_means(features: Tensor, labels: Tensor) -> Tensor:
    """(C, D) mean of the normalised features of each label 0..C-1; zeros without an image.

    features: (N, D). labels: (N,) int64, a negative one leaves its image out.
    """
    num_labels = int(labels.max()) + 1 if len(labels) else 0
    return means_by_label(F.normalize(features.to(compute_dtype(features)), dim=1), labels, max(0, num_labels))


def nearest_class(vectors: Tensor, class_means: Tensor) -> tuple[Tensor, Tensor]:
    """(cosine, class), (n,) each, of the mean that is nearest to each vector; -inf and -1 without one, in blocks.

    A vector or a mean of zeros, which is a class without an image, is near to nothing.
    """
    vectors, means = F.normalize(vectors.to(class_means), dim=1), F.normalize(class_means, dim=1)
    cosine = vectors.new_full((len(vectors),), -torch.inf)
    nearest = torch.full((len(vectors),), -1, device=vectors.device)
    is_class = means.any(dim=1)
    if is_class.any():
        for rows in torch.arange(len(vectors), device=vectors.device).split(max(1, _BLOCK_VALUES // len(means))):
            products = dot_products(vectors[rows], means).masked_fill_(~is_class, -torch.inf)
            cosine[rows], nearest[rows] = products.clamp_(max=1).max(dim=1)
    is_nowhere = ~vectors.any(dim=1)
    return cosine.masked_fill_(is_nowhere, -torch.inf), nearest.masked_fill_(is_nowhere, -1)


def distance_to_known(features: Tensor, class_means: Tensor) -> Tensor:
    """(N,) of 0..1: (1 - the greatest cosine to a class mean) / 2; 1 where there is no class.

    features: (N, D); class_means: (C, D) of `known_means`.
    Source: Cao et al., "PSS: Progressive Sample Selection for Open-World Visual Representation Learning", ECCV 2022.
    """
    return (1 - nearest_class(features, class_means)[0].clamp_min(-1)) / 2


def _held_out(
    labels: Tensor, sizes: np.ndarray, new_share: float, unlabelled_share: float, seed: int, repeat: int
) -> tuple[Tensor, Tensor]:
    """(N,) bool each: held out, and of a class that stays known. One class with two images always stays."""
    generator = numpy_generator(seed, "known classes", repeat)
    present = generator.permutation(np.flatnonzero(sizes))
    stays = present[sizes[present] > 1][0]
    others = present[present != stays]
    num_new = min(max(1, round(new_share * len(present))), len(others))
    is_new = np.zeros(len(sizes), dtype=bool)
    is_new[others[:num_new]] = True
    label = labels.cpu().numpy()
    # Place of each image in a random order of its class: the first ones are held out.
    order = generator.permutation(len(label))
    order = order[np.argsort(label[order], kind="stable")]
    starts = np.cumsum(sizes) - sizes
    place = np.empty(len(label), dtype=np.int64)
    place[order] = np.arange(len(label)) - starts[label[order]]
    num_unlabelled = np.minimum(np.maximum(1, np.round(unlabelled_share * sizes)), sizes - 1)
    is_held_out = is_new[label] | (place < num_unlabelled[label])
    return torch.from_numpy(is_held_out).to(labels.device), torch.from_numpy(~is_new[label]).to(labels.device)


def _trial(
    features: Tensor,
    labels: Tensor,
    is_held_out: Tensor,
    is_known: Tensor,
    clusters_of: Callable[[Tensor], Tensor] | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """(cosine, is right, is of a known class) of each held-out image, by its cluster; -inf without a cluster."""
    truth, pool, is_known = labels[is_held_out], features[is_held_out], is_known[is_held_out]
    clusters = truth if clusters_of is None else clusters_of(pool).to(truth)
    rows = clusters >= 0
    class_means = known_means(features[~is_held_out], labels[~is_held_out])
    of_cluster, nearest = nearest_class(known_means(pool, clusters), class_means)
    cosine, is_right = class_means.new_full((len(truth),), -torch.inf), torch.zeros_like(rows)
    cosine[rows] = of_cluster[clusters[rows]]
    # A class that is held out has no mean, so none of its images can be right.
    is_right[rows] = nearest[clusters[rows]] == truth[rows]
    return cosine, is_right, is_known


def _lowest(cosine: Tensor, is_right: Tensor, is_known: Tensor, target_precision: float) -> JoinRule:
    cosine, order = cosine.sort(descending=True, stable=True)
    precision = is_right[order].cumsum(0).double() / torch.arange(1, len(order) + 1, device=order.device)
    # Equal cosines are joined together or not at all.
    is_end = torch.cat([cosine[1:] < cosine[:-1], cosine.new_ones(1, dtype=torch.bool)]) & (cosine > -torch.inf)
    reached = (is_end & (precision >= target_precision)).nonzero()[:, 0]
    if not len(reached):
        best = float(precision[is_end].max()) if is_end.any() else 0.0
        return JoinRule(
            None,
            None,
            None,
            f"no threshold joins clusters with the target precision {target_precision:g}: the best reaches {best:.3f}",
        )
    last = int(reached[-1])
    num_right, num_known = int(is_right[order][: last + 1].sum()), int(is_known.sum())
    return JoinRule(float(cosine[last]), float(precision[last]), num_right / num_known)


def _require_shares(target_precision: float, new_share: float, unlabelled_share: float, repeats: int) -> None:
    for name, share in (
        ("target_precision", target_precision),
        ("new_share", new_share),
        ("unlabelled_share", unlabelled_share),
    ):
        if not 0 < share <= 1:
            raise UserError(f"{name}={share}: expected above 0, at most 1.")
    if repeats < 1:
        raise UserError(f"repeats={repeats}: expected at least one.")
