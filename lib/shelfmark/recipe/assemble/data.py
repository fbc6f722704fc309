"""Tables, batches and what mixes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from shelfmark.core import dist
from shelfmark.core.contracts import Batch
from shelfmark.core.errors import UserError
from shelfmark.core.heartbeat import beat
from shelfmark.core.rng import derive_seed
from shelfmark.core.stopping import raise_if_stopped
from shelfmark.data.annotations import read_annotations
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.dataset import ImageDataset
from shelfmark.data.images import ImageLimits
from shelfmark.data.lists import apply_lists
from shelfmark.data.loader import TrainLoader, eval_batches
from shelfmark.data.mixing import Mixing
from shelfmark.data.samplers import build_order, rank_share
from shelfmark.data.samplers.options import SamplingStage
from shelfmark.data.table import Table
from shelfmark.data.transforms import (
    NUM_VIEWS,
    SizedTransforms,
    Transform,
    eval_transform,
    train_transform,
    view_transform,
)
from shelfmark.data.union import union
from shelfmark.losses import LossEntry
from shelfmark.recipe.tree import Recipe


def read_table(recipe: Recipe, split: str, num_classes: int | None = None) -> Table:
    """The table of `train`, `val` or `retrieval`, checked; that of train with `data.more_train_json`, as `data.lists`
    correct it.

    num_classes: None takes data.num_classes.
    """
    file: Path | None = getattr(recipe.data, f"{split}_json")
    if file is None:
        raise UserError(f"data.{split}_json is not set; give the annotations' path, as data.{split}_json=FILE.")
    data = recipe.data
    files = [file, *data.more_train_json] if split == "train" else [file]
    num_classes = data.num_classes if num_classes is None else num_classes
    tables = [read_annotations(one, data.root, data.extra_roots, num_classes) for one in files]
    if split != "train":
        return tables[0]
    return apply_lists(union(tables, files), data.lists.keep, data.lists.drop, data.lists.relabel)


def train_loader(recipe: Recipe, table: Table, device: torch.device) -> TrainLoader:
    """Augmented training batches, this process's part of each."""
    data, augment = recipe.data, recipe.augment
    sizes = {stage.from_epoch: stage.size_px for stage in augment.sizes}
    transform = SizedTransforms(data.input_size_px, sizes, _augmentation(recipe))
    rank_share(recipe.train.batch_size, dist.world_size())
    order = build_order(
        recipe.sampling.model_copy(update={"stages": _sampling_stages(recipe)}),
        table.labels,
        table.num_classes,
        recipe.train.batch_size,
        recipe.seed,
        num_epochs=recipe.train.num_epochs,
        steps_per_epoch=recipe.train.steps_per_epoch,
        views=augment.views,
        weights=table.weights,
    )
    dataset = _dataset(recipe, table, transform, recipe.seed, replace_bad=True)
    return TrainLoader(
        dataset,
        order,
        num_workers=data.num_workers,
        rank=dist.rank(),
        world_size=dist.world_size(),
        pin_memory=device.type == "cuda",
    )


def mixing(recipe: Recipe, table: Table, stage: int = 0) -> Mixing | None:
    """What mixes a stage's training images, if anything does.

    UserError: a loss that counts in the stage and cannot take mixed labels.
    """
    mixup, cutmix, remix = recipe.mixing_of(stage)
    if not (mixup or cutmix):
        return None
    for config in _counting_losses(recipe, stage):
        if not config.loss_class.takes_probabilities:
            raise UserError(
                f"augment.mixup and cutmix give an image two labels, which the loss {config.name} cannot take;"
                " leave it out, set both to 0, or let it count (from_epoch, until_epoch) only in stages of train.stages"
                " that do not mix."
            )
    return Mixing(mixup, cutmix, remix, table.counts, recipe.seed)


def _counting_losses(recipe: Recipe, stage: int) -> Sequence[LossEntry]:
    """The losses that are part of the sum in some epoch of a stage."""
    begins = [0, *(later.from_epoch for later in recipe.train.stages), recipe.train.num_epochs]
    begin, end = begins[stage], begins[stage + 1]
    counting = [loss for loss in recipe.losses if loss.from_epoch < end and (loss.until_epoch or end) > begin]
    if not counting:
        raise UserError(f"losses: none counts in epochs {begin} to {end - 1} (from 0); see from_epoch, until_epoch.")
    return counting


def _dataset(
    recipe: Recipe, table: Table, transform: Transform | SizedTransforms, seed: int, replace_bad: bool
) -> ImageDataset:
    data = recipe.data
    limits = ImageLimits(data.max_image_bytes, data.max_image_pixels)
    return ImageDataset(
        table, transform, seed=seed, on_bad_image=data.on_bad_image, replace_bad=replace_bad, limits=limits
    )


def _augmentation(recipe: Recipe) -> Callable[[int], Transform]:
    """The training augmentation at a size in pixels."""
    return partial(train_transform, augment=recipe.augment, data=recipe.data)


def _sampling_stages(recipe: Recipe) -> tuple[SamplingStage, ...]:
    """The sampler's switches: where a stage of train.stages names one, that rules until the stage ends."""
    switches = {stage.from_epoch: stage.type for stage in recipe.sampling.stages}
    begins = [stage.from_epoch for stage in recipe.train.stages]
    for stage, end in zip(recipe.train.stages, [*begins[1:], recipe.train.num_epochs]):
        if stage.sampling is not None:
            before = [epoch for epoch in switches if epoch <= end]
            after = switches[max(before)] if before else recipe.sampling.type
            switches = {epoch: name for epoch, name in switches.items() if not stage.from_epoch <= epoch < end}
            switches[stage.from_epoch] = stage.sampling
            switches.setdefault(end, after)
    return tuple(SamplingStage(from_epoch=epoch, type=name) for epoch, name in sorted(switches.items()))


def evaluation_batches(recipe: Recipe, table: Table, bad_images: BadImageLog | None = None) -> Iterator[Batch]:
    """This process's share of a table in row order, resized and cropped, without augmentation.

    bad_images: counts and lists what this process could not read, and ends the run when that is too much. The pass
    has no collectives, since shares may be empty: go over it inside `bad_images.over_ranks()`.
    """
    transform = eval_transform(recipe.data.input_size_px, recipe.data)
    return _batches(recipe, table, transform, recipe.eval.batch_size, bad_images)


def prediction_batches(recipe: Recipe, table: Table, bad_images: BadImageLog) -> list[Iterator[Batch]]:
    """For each size to predict at, the same batches of rows with the views of their images: (n, V, 3, S, S)."""
    sizes = recipe.predict.sizes_px or (recipe.data.input_size_px,)
    # What cannot be read cannot be read at any size: it is listed once.
    logs = [bad_images, *[None] * (len(sizes) - 1)]
    return [view_batches(recipe, table, recipe.predict.views, size, log) for size, log in zip(sizes, logs)]


def view_batches(
    recipe: Recipe, table: Table, views: str, size_px: int, bad_images: BadImageLog | None = None
) -> Iterator[Batch]:
    """As `evaluation_batches`, at one size, with the views of their images: (n, V, 3, S, S)."""
    transform = view_transform(size_px, views, recipe.data)
    return _batches(recipe, table, transform, max(1, recipe.eval.batch_size // NUM_VIEWS[views]), bad_images)


def augmented_batches(recipe: Recipe, table: Table, view: int, bad_images: BadImageLog | None) -> Iterator[Batch]:
    """As `evaluation_batches`, but each image augmented as in training; each `view` has draws of its own."""
    transform = _augmentation(recipe)(recipe.data.input_size_px)
    seed = derive_seed(recipe.seed, "augmented_view", view)
    return _batches(recipe, table, transform, recipe.eval.batch_size, bad_images, seed)


def _batches(
    recipe: Recipe,
    table: Table,
    transform: Transform,
    batch_size: int,
    bad_images: BadImageLog | None,
    seed: int = 0,
) -> Iterator[Batch]:
    data = recipe.data
    dataset = _dataset(recipe, table, transform, seed, replace_bad=False)
    batches = eval_batches(dataset, batch_size, data.num_workers, rank=dist.rank(), world_size=dist.world_size())
    for batch in batches:
        beat("evaluation")
        if dist.world_size() == 1:
            raise_if_stopped()
        if bad_images is not None:
            bad_images.add(batch.bad)
        yield batch
    if bad_images is not None:
        bad_images.write()
