"""What is wrong where a batch cannot be learned, and what to look at. Legend: N rows of this process's batch."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

from torch import nn

from shelfmark.core import dist
from shelfmark.core.contracts import Batch
from shelfmark.core.wording import counted
from shelfmark.engine.checks.overfit import STANDS_STILL, Overfit

_FEW = 0.5


def findings(found: Overfit, batch: Batch, network: nn.Module) -> list[str]:
    """Sentences, the surest cause first; [] where the batch was learned and could show something. A collective.

    They name the options that change it.
    """
    labels = {label for part in dist.gather_objects(batch.labels.tolist()) for label in part if label >= 0}
    told = []
    if len(labels) < 2:
        told.append(
            f"the labels of the batch are constant: {counted(len(labels), 'class')} in {len(batch)} pictures, so a"
            " falling loss shows nothing. Look at sampling.* and at the category_id of the annotations"
        )
    if found.is_learned:
        return told
    if found.skipped:
        return [*told, _of_a_skipped_step(found)]
    return [*told, *_of_the_pictures(batch), *_of_the_gradient(found), *_of_the_rate(found), *_of_frozen_parts(network)]


def _of_a_skipped_step(found: Overfit) -> str:
    broken = [name for name, value in found.losses[-1].items() if name != "loss" and not math.isfinite(value)]
    losses = f" ({', '.join(broken)})" if broken else ""
    if len(found.losses) == 1:
        return (
            f"the first step cannot be taken: {found.skipped}{losses}. No rate mends this: try train.precision=fp32,"
            " and look at the weights that the run begins with, at the pictures, and at this loss's own options"
        )
    return (
        f"step {len(found.losses)} cannot be taken: {found.skipped}{losses}. Lower optim.lr={found.rate:g} (--check"
        " rate proposes one), set optim.clip_norm, or train.precision=fp32"
    )


def _of_the_pictures(batch: Batch) -> Iterator[str]:
    labels_of = defaultdict(set)
    for image, label in zip(batch.images, batch.labels.tolist()):
        labels_of[hash(image.cpu().numpy().tobytes())].add(label)
    flat = batch.images.flatten(1)
    if bool((flat == flat[:, :1]).all()):
        yield (
            "every picture of the batch is one even colour: look at the files, at data.mean and data.std, and at"
            " augment.*"
        )
    elif any(len(labels) > 1 for labels in labels_of.values()):
        number = sum(len(labels) > 1 for labels in labels_of.values())
        yield (
            f"{counted(number, 'picture')} of the batch {'stands' if number == 1 else 'stand'} there under several"
            " classes, which nothing can tell apart. `shelfmark clean` lists doubtful labels"
        )


def _of_the_gradient(found: Overfit) -> Iterator[str]:
    if found.gradient_norm == 0:
        yield (
            "the gradient of the first step is zero: the losses do not depend on any weight that learns. Look at the"
            " weights, heads and margins in losses, and at model.freeze"
        )
        return
    for name in found.no_gradient:
        yield (
            f"`{name}` gets no gradient, so it does not learn: no loss of the first epoch reads it. Look at losses and"
            " model.heads"
        )


def _of_the_rate(found: Overfit) -> Iterator[str]:
    fell = f"from {found.first:.4g} to {found.last:.4g} in {counted(len(found.losses), 'step')}"
    if found.last > found.first:
        yield f"the loss rose, {fell}: optim.lr={found.rate:g} is too high. --check rate proposes one"
    elif found.late_fall > STANDS_STILL:
        yield (
            f"the loss fell too slowly, {fell}, and falls still: optim.lr={found.rate:g} is low. --check rate proposes"
            " one"
        )
    else:
        wrong = [f"{head} {share:.1%}" for head, share in found.right.items() if share < 1]
        right = f" Right answers: {', '.join(wrong)}." if wrong else ""
        yield (
            f"the loss stands still, {fell}.{right} Look at optim.lr={found.rate:g} (--check rate proposes one), at"
            " optim.weight_decay, at dropout in model.backbone_options, and at the labels"
        )


def _of_frozen_parts(network: nn.Module) -> Iterator[str]:
    sizes = [(one.numel(), one.requires_grad) for one in network.parameters()]
    number, learning = sum(size for size, _ in sizes), sum(size for size, learns in sizes if learns)
    if learning < _FEW * number:
        yield (
            f"only {learning:,} of {number:,} weights learn, the others are frozen: look at model.freeze,"
            " model.freeze_bn and model.adapters"
        )
