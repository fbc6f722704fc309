"""Builds tables, batches and the mixing of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from shelfmark.core import dist
from shelfmark.core.errors import UserError
from shelfmark.data.annotations import read_annotations
from shelfmark.data.crop_first import CropFirst
from shelfmark.data.dataset import ImageDataset
from shelfmark.data.finish import Finish
from shelfmark.data.lists import apply_lists
from shelfmark.data.loader import TrainLoader
from shelfmark.data.mixing import Mixing
from shelfmark.data.open_set import open_set_classes, tell_open_set, without_classes
from shelfmark.data.samplers import EpochOrder, build_order, rank_share
from shelfmark.data.samplers.options import SamplingStage
from shelfmark.data.source_words import reads_files
from shelfmark.data.sources import FileSource, ImageSource
from shelfmark.data.sources.named import open_source
from shelfmark.data.table import Table
from shelfmark.data.transforms import SizedTransforms, Transform, train_transform
from shelfmark.data.union import union
from shelfmark.losses import LossEntry
from shelfmark.recipe.tree import Recipe


def read_table(
    recipe: Recipe,
    split: str,
    num_classes: int | None = None,
    own_columns: bool = False,
    check_files: bool = True,
) -> Table:
    """The checked table of `train`, `val` or `retrieval`. That of train includes `data.more_train_json` and the
    corrections of `data.lists`, without the classes of `data.open_set_classes`.

    num_classes: None takes data.num_classes. own_columns: as of `read_annotations`. check_files: whether every picture
    must be there, in its file or in the copy that data.source names.
    """
    file, data = _file(recipe, split), recipe.data
    files = [file, *data.more_train_json] if split == "train" else [file]
    num_classes = data.num_classes if num_classes is None else num_classes
    files_too = check_files and reads_files(data.source)
    tables = [
        read_annotations(one, data.root, data.extra_roots, num_classes, files_too, own_columns=own_columns)
        for one in files
    ]
    table = tables[0] if split != "train" else without_classes(*_training_images(recipe, tables, files))
    if check_files:
        image_source(recipe, table)
    return table


def read_training(recipe: Recipe) -> tuple[Table, Table]:
    """The training images, and those of the classes that data.open_set_classes keeps out; it says which."""
    files = [_file(recipe, "train"), *recipe.data.more_train_json]
    data = recipe.data
    files_too = reads_files(data.source)
    tables = [read_annotations(one, data.root, data.extra_roots, data.num_classes, files_too) for one in files]
    table, held = _training_images(recipe, tables, files)
    image_source(recipe, table)
    tell_open_set(table, held)
    return without_classes(table, held), table.take(np.isin(table.labels, held))


def _training_images(recipe: Recipe, tables: Sequence[Table], files: Sequence[Path]) -> tuple[Table, np.ndarray]:
    """All training images, and the classes of them that are kept out."""
    data = recipe.data
    table = apply_lists(union(tables, files), data.lists.keep, data.lists.drop, data.lists.relabel)
    return table, open_set_classes(table, data.open_set_classes, recipe.seed)


def _file(recipe: Recipe, split: str) -> Path:
    file: Path | None = getattr(recipe.data, f"{split}_json")
    if file is None:
        raise UserError(f"data.{split}_json is not set; give the annotations' path, as data.{split}_json=FILE.")
    return file


def train_loader(recipe: Recipe, table: Table, device: torch.device) -> TrainLoader:
    """Augmented training batches, this process's part of each."""
    data = recipe.data
    order = epoch_order(recipe, table)
    dataset = ImageDataset(
        image_source(recipe, table),
        table.labels,
        sized_augmentation(recipe),
        seed=recipe.seed,
        on_bad_image=data.on_bad_image,
        replace_bad=True,
        max_pixels=data.max_image_pixels,
        finishes=False,
    )
    return TrainLoader(
        dataset,
        order,
        num_workers=data.num_workers,
        rank=dist.rank(),
        world_size=dist.world_size(),
        pin_memory=device.type == "cuda",
        finish=Finish(data) if crops_first(recipe) else None,
        device=device,
    )


def epoch_order(recipe: Recipe, table: Table) -> EpochOrder:
    """Which rows of the training table make up each batch."""
    rank_share(recipe.train.batch_size, dist.world_size())
    return build_order(
        recipe.sampling.model_copy(update={"stages": _sampling_stages(recipe)}),
        table.labels,
        table.num_classes,
        recipe.train.batch_size,
        recipe.seed,
        num_epochs=recipe.train.num_epochs,
        steps_per_epoch=recipe.train.steps_per_epoch,
        views=recipe.augment.views,
        weights=table.weights,
    )


def mixing(recipe: Recipe, table: Table, stage: int = 0) -> Mixing | None:
    """The `Mixing` of a stage's training images; None if the stage does not mix.

    UserError: a loss that counts in the stage cannot take mixed labels.
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
    """The losses that count in at least one epoch of a stage."""
    begins = [0, *(later.from_epoch for later in recipe.train.stages), recipe.train.num_epochs]
    begin, end = begins[stage], begins[stage + 1]
    counting = [loss for loss in recipe.losses if loss.from_epoch < end and (loss.until_epoch or end) > begin]
    if not counting:
        raise UserError(f"losses: none counts in epochs {begin} to {end - 1} (from 0); see from_epoch, until_epoch.")
    return counting


def image_source(recipe: Recipe, table: Table) -> ImageSource:
    """The pictures of a table, from where data.source says. UserError: one of them is not there."""
    data = recipe.data
    return open_source(data.source, FileSource.of(table, data.max_image_bytes, data.box_margin), data.root)


def crops_first(recipe: Recipe) -> bool:
    """Whether the crop of a training picture is drawn before it is decoded. A pipeline of albumentations is given the
    whole picture."""
    return recipe.data.pipeline == 2 and recipe.augment.albumentations is None


def augmentation(recipe: Recipe) -> Callable[[int], Transform]:
    """The training augmentation at a size in pixels."""
    make: Callable[..., Transform] = CropFirst if crops_first(recipe) else train_transform
    return partial(make, augment=recipe.augment, data=recipe.data)


def sized_augmentation(recipe: Recipe) -> SizedTransforms:
    """The training augmentation of each epoch."""
    sizes = {stage.from_epoch: stage.size_px for stage in recipe.augment.sizes}
    return SizedTransforms(recipe.data.input_size_px, sizes, augmentation(recipe))


def _sampling_stages(recipe: Recipe) -> tuple[SamplingStage, ...]:
    """The switches of samplers: a sampler that a stage of train.stages names rules until the stage ends."""
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
