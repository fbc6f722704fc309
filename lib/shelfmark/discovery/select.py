"""Which clustered images become training images of new classes.

Legend: N images, U unlabelled ones (mask not 0), C known classes, D embedding.

A mask says what an image is: 0 labelled, 1 selected, 2 waiting. Labels are classes: a known class below `offset`, a
pseudo-class from there on, -1 where an image waits. Every function returns new tensors and leaves its arguments as they
were; the later ones take labels and mask as `by_density` gives them, so they can follow each other in any order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from shelfmark.core.errors import UserError

LABELLED, SELECTED, WAITING = 0, 1, 2


def by_density(labels: Tensor, density: Tensor, threshold: float, offset: int, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(labels, mask) after the choice: images of the pool with a density strictly above the threshold are selected.

    A selected image gets label cluster + offset and mask 1, another image of the pool -1 and mask 2; an earlier
    selection is forgotten. A labelled image keeps its label and mask 0. A cluster below 0 is none and
    is never selected.

    mask: (N,) of 0, 1, 2. labels: (N,), the cluster at an image of the pool and the class at a labelled one; or (U,),
    the clusters of the pool alone in the order of the images: then the labels come back as (U,) too. The mask always
    comes back as (N,). density: (N,), what stands at labelled images is not read, or (U,).
    """
    labels, density, mask = torch.as_tensor(labels), torch.as_tensor(density), torch.as_tensor(mask)
    if mask.is_floating_point() or not bool(((mask >= LABELLED) & (mask <= WAITING)).all()):
        raise UserError("a mask holds 0 (labelled), 1 (selected) and 2 (waiting) and nothing else.")
    is_pool = mask != LABELLED
    clusters = _of_pool("labels", labels, is_pool)
    is_chosen = (_of_pool("density", density, is_pool) > threshold) & (clusters >= 0)
    chosen = torch.where(is_chosen, clusters + offset, -1)
    found = mask.clone()
    found[is_pool] = torch.where(is_chosen, SELECTED, WAITING).to(mask.dtype)
    if len(labels) != len(mask):
        return chosen, found
    all_labels = labels.clone()
    all_labels[is_pool] = chosen
    return all_labels, found


def by_size(
    labels: Tensor, mask: Tensor, min_size: int = 1, max_size: int | None = None, offset: int = 0
) -> tuple[Tensor, Tensor]:
    """(labels, mask) without the pseudo-classes that have fewer than min_size or more than max_size selected images.

    A class with too few images is of no use to a sampler of k images a class; one with very many is more likely a heap
    of several products. Classes below offset, the known ones, are left alone. labels, mask: (N,) both.
    """
    if min_size < 1 or (max_size is not None and max_size < min_size):
        raise UserError(f"min_size={min_size}, max_size={max_size}: expected 1 <= min_size <= max_size.")
    is_pseudo = (mask == SELECTED) & (labels >= offset)
    _, place, sizes = labels[is_pseudo].unique(return_inverse=True, return_counts=True)
    size = torch.zeros_like(labels)
    size[is_pseudo] = sizes[place]
    is_refused = size < min_size if max_size is None else (size < min_size) | (size > max_size)
    return _without(labels, mask, is_pseudo & is_refused)


def by_distance(
    labels: Tensor, mask: Tensor, distance: Tensor, threshold: float, offset: int = 0
) -> tuple[Tensor, Tensor]:
    """(labels, mask) without the images of pseudo-classes that are nearer than `threshold` to a known class.

    distance: (N,) of `known.distance_to_known`. Classes below offset, the known ones, are left alone.
    Source: Cao et al., "PSS: Progressive Sample Selection for Open-World Visual Representation Learning", ECCV 2022.
    """
    return _without(labels, mask, (mask == SELECTED) & (labels >= offset) & (distance < threshold))


def joined(labels: Tensor, mask: Tensor, classes: Tensor, offset: int) -> tuple[Tensor, Tensor]:
    """(labels, mask) with the selected images of a joined cluster under their known class.

    classes: (clusters,) the known class that a cluster joins, -1 for none; cluster c has label c + offset, so this
    comes before `compacted`.
    """
    labels, is_pseudo = labels.clone(), (mask == SELECTED) & (labels >= offset)
    own = classes.to(labels)[labels[is_pseudo] - offset]
    labels[is_pseudo] = torch.where(own >= 0, own, labels[is_pseudo])
    return labels, mask.clone()


def compacted(labels: Tensor, offset: int) -> Tensor:
    """(N,) the labels with the pseudo-classes renumbered offset, offset + 1, ... in the order of their numbers."""
    compact, is_pseudo = labels.clone(), labels >= offset
    compact[is_pseudo] = labels[is_pseudo].unique(return_inverse=True)[1] + offset
    return compact


def _of_pool(name: str, values: Tensor, is_pool: Tensor) -> Tensor:
    """(U,) of values (N,) or (U,)."""
    num_pool = int(is_pool.sum())
    if values.shape == is_pool.shape:
        return values[is_pool]
    if values.shape == (num_pool,):
        return values
    raise ValueError(f"{name} {tuple(values.shape)}: expected {len(is_pool)}, the mask's, or the pool's {num_pool}")


def _without(labels: Tensor, mask: Tensor, refused: Tensor) -> tuple[Tensor, Tensor]:
    return labels.masked_fill(refused, -1), mask.masked_fill(refused, WAITING)
