"""From the config tree to objects. Nothing else reads options to build parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from shelfmark.core import dist
from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.core.together import from_main
from shelfmark.data.annotations import read_annotations
from shelfmark.data.dataset import ImageDataset
from shelfmark.data.lists import apply_lists
from shelfmark.data.loader import TrainLoader
from shelfmark.data.mixing import Mixing
from shelfmark.data.samplers import build_order, rank_share
from shelfmark.data.sources import FileSource
from shelfmark.data.table import Table
from shelfmark.data.transforms import SizedTransforms, Transform, train_transform
from shelfmark.data.union import union
from shelfmark.engine.memory import CrossBatchMemory
from shelfmark.engine.terms import LossTerm
from shelfmark.losses import LossContext, LossEntry, RetrievalLossEntry
from shelfmark.models import Network, build_network
from shelfmark.models.backbones.layers import layers_below_the_top
from shelfmark.models.backbones.shape import BackboneShape
from shelfmark.models.network import AdapterOptions, HeadOptions
from shelfmark.optim import LearningRate, StagedRate, build_optimizer, parameter_groups
from shelfmark.recipe.tree import Head, Recipe, Schedule
from shelfmark.shop import generate_shop, is_complete
from shelfmark.shop.discovery_shop import NAME as DISCOVERY_SHOP
from shelfmark.shop.discovery_shop import write_discovery_shop


def make_data(recipe: Recipe) -> None:
    """Generates the shop where the recipe asks for it, trains on it or discovers in it, and it is not there yet.

    A user who names other annotations on top of such a recipe brings the data too.
    """
    data = recipe.data
    discovers = recipe.discovery.annotations == data.root / DISCOVERY_SHOP
    wants_shop = data.generated == "shop" and (discovers or data.train_json == data.root / "train.json")

    def make() -> None:
        if wants_shop and not is_complete(data.root):
            say(f"generating the shop in {data.root} ...")
            generate_shop(data.root)
        if wants_shop and discovers and not (data.root / DISCOVERY_SHOP).is_file():
            write_discovery_shop(data.root)

    from_main(make)


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


def network(recipe: Recipe, num_classes: int, load_weights: bool = True) -> Network:
    """The network on the CPU. load_weights: False where a checkpoint will fill it anyway."""
    model = recipe.model
    return build_network(
        backbone=model.backbone,
        num_classes=num_classes,
        weights=model.weights if load_weights else "",
        shape=BackboneShape(
            model.pooling.name, model.pooling.p, model.pooling.trainable, model.last_stride, model.backbone_options
        ),
        adapters=AdapterOptions(model.adapters.rank, model.adapters.alpha, model.adapters.modules),
        embedding_dim=model.embedding_dim,
        neck=model.neck,
        classifier=model.classifier.type,
        bias=model.classifier.bias,
        scale=model.classifier.scale,
        heads={name: _head_options(head) for name, head in model.heads.items()},
        freeze=[*model.freeze, *_heads_without_loss(recipe)],
        freeze_bn=model.freeze_bn,
        freeze_bn_affine=model.freeze_bn_affine,
        channels_last=model.channels_last,
        experts=model.experts,
        expert_stages=model.expert_stages,
        seed=recipe.seed,
    )


def _head_options(head: Head) -> HeadOptions:
    return HeadOptions(head.dim, head.type, head.centers_per_class, head.hidden_dim)


def _heads_without_loss(recipe: Recipe) -> list[str]:
    # What no loss trains would only decay, and DistributedDataParallel would wait for its gradient.
    used = {head for loss in recipe.losses for head, _ in loss.inputs.values()}
    if not used.isdisjoint(recipe.model.expert_heads):
        used.add("classifier")  # an expert's logits are those of a block of its weight
    modules = {"classifier": "classifier", **{name: f"heads.{name}" for name in recipe.model.heads}}
    return [module for name, module in modules.items() if name not in used]


def loss_terms(recipe: Recipe, table: Table, device: torch.device, steps_per_epoch: int) -> list[LossTerm]:
    """The losses, named uniquely: a name that stands twice gets its head's name behind it, or its first epoch."""
    context = LossContext(
        counts=torch.from_numpy(table.counts), device=device, seed=recipe.seed, steps_per_epoch=steps_per_epoch
    )
    terms: list[LossTerm] = []
    for config in recipe.losses:
        name: str = config.name
        if any(term.name == name for term in terms):
            name = f"{config.name}@{config.from_epoch or config.head}"
        if any(term.name == name for term in terms):
            raise UserError(f"losses: {config.name} stands twice on head {config.head}; add up their weights instead.")
        terms.append(
            LossTerm(
                name,
                config.head,
                config.weight,
                config.build(context),
                config.loss_class.consumes,
                recipe.model.classifier.scale if config.head == "classifier" else 1.0,
                _memory(config, device),
                config.from_epoch * steps_per_epoch,
                config.until_epoch * steps_per_epoch or None,
                getattr(config, "vectors_head", ""),
            )
        )
    return terms


def _memory(config: LossEntry, device: torch.device) -> CrossBatchMemory | None:
    if not isinstance(config, RetrievalLossEntry) or not config.memory_rows:
        return None
    return CrossBatchMemory(config.memory_rows, config.memory_from_step, device)


def optimizer(recipe: Recipe, network: Network) -> torch.optim.Optimizer:
    """The optimizer over everything that is not frozen."""
    optim = recipe.optim
    groups = parameter_groups(
        network,
        lr=optim.lr,
        weight_decay=optim.weight_decay,
        decay_norm_and_bias=optim.decay_norm_and_bias,
        head_lr_factor=optim.head_lr_factor,
        layer_decay=optim.layer_decay,
        layers=layers_below_the_top(network.backbone) if optim.layer_decay != 1 else None,
    )
    return build_optimizer(
        optim.name,
        groups,
        lr=optim.lr,
        momentum=optim.momentum,
        nesterov=optim.nesterov,
        betas=optim.betas,
        weight_decay=optim.weight_decay,
    )


def learning_rate(recipe: Recipe, steps_per_epoch: int) -> StagedRate:
    """The learning rate as a function of the step: each stage's schedule, from its beginning to its end."""
    train, optim = recipe.train, recipe.optim
    begins = [0, *(stage.from_epoch for stage in train.stages)]
    ends = [*begins[1:], train.num_epochs]
    plans = [(optim.lr, optim.schedule), *((stage.lr or optim.lr, stage.schedule) for stage in train.stages)]
    return StagedRate(
        tuple(
            (begin * steps_per_epoch, _rate(lr, schedule, steps_per_epoch, end - begin))
            for begin, end, (lr, schedule) in zip(begins, ends, plans)
        )
    )


def _rate(lr: float, schedule: Schedule, steps_per_epoch: int, num_epochs: int) -> LearningRate:
    return LearningRate(
        lr,
        schedule.name,
        steps_per_epoch=steps_per_epoch,
        num_epochs=num_epochs,
        milestones_epochs=schedule.milestones_epochs,
        gamma=schedule.gamma,
        final_factor=schedule.final_factor,
        warmup_epochs=schedule.warmup_epochs,
        warmup_factor=schedule.warmup_factor,
        warmup_steps=schedule.warmup_steps,
        per_epoch=schedule.per_epoch,
    )


def stage_of(recipe: Recipe, epoch: int) -> int:
    """Which stage an epoch belongs to: 0 before the first of train.stages begins."""
    return sum(stage.from_epoch <= epoch for stage in recipe.train.stages)


def enter_stage(recipe: Recipe, network: Network, number: int, anew: bool) -> None:
    """Freezes and scales what a stage does. anew: the stage begins here, so that its classifier may begin anew."""
    stage = recipe.train.stages[number - 1] if number else None
    freeze = recipe.model.freeze if stage is None or stage.freeze is None else stage.freeze
    if anew and stage is not None and stage.classifier == "restart":
        network.restart_classifier(recipe.seed, f"model.classifier.stage{number}")
    if stage is not None and stage.classifier == "scale":
        network.scale_classifier()
    else:
        network.fold_class_scale()
    network.freeze(
        [*freeze, *_heads_without_loss(recipe)],
        update_batch_norm=stage is not None and stage.update_batch_norm,
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


def train_loader(recipe: Recipe, table: Table, device: torch.device) -> TrainLoader:
    """Augmented training batches, this process's part of each."""
    data, augment, sampling = recipe.data, recipe.augment, recipe.sampling
    sizes = {stage.from_epoch: stage.size_px for stage in augment.sizes}
    transform = SizedTransforms(data.input_size_px, sizes, augmentation(recipe))
    rank_share(recipe.train.batch_size, dist.world_size())
    order = build_order(
        sampling.type,
        table.labels,
        table.num_classes,
        recipe.train.batch_size,
        recipe.seed,
        images_per_class=sampling.images_per_class,
        steps_per_epoch=recipe.train.steps_per_epoch,
        stages=_sampling_stages(recipe),
        power=sampling.power,
        num_epochs=recipe.train.num_epochs,
        views=augment.views,
        weights=table.weights,
        visits=sampling.visits,
    )
    dataset = ImageDataset(
        image_source(recipe, table),
        table.labels,
        transform,
        seed=recipe.seed,
        on_bad_image=data.on_bad_image,
        replace_bad=True,
        max_pixels=data.max_image_pixels,
    )
    return TrainLoader(
        dataset,
        order,
        num_workers=data.num_workers,
        rank=dist.rank(),
        world_size=dist.world_size(),
        pin_memory=device.type == "cuda",
    )


def image_source(recipe: Recipe, table: Table) -> FileSource:
    """The pictures of a table."""
    return FileSource(table.paths, table.root, recipe.data.max_image_bytes)


def augmentation(recipe: Recipe) -> Callable[[int], Transform]:
    """The training augmentation at a size in pixels."""
    data, augment = recipe.data, recipe.augment
    return partial(
        train_transform,
        resize_px=augment.resize_px,
        interpolation=data.interpolation,
        crop_scale=augment.crop_scale,
        crop_ratio=augment.crop_ratio,
        crop_padding_px=augment.crop_padding_px,
        flip=augment.flip,
        color_jitter=augment.color_jitter,
        color_jitter_probability=augment.color_jitter_probability,
        randaugment_ops=augment.randaugment.num_ops,
        randaugment_magnitude=augment.randaugment.magnitude,
        erasing=augment.erasing,
        mean=data.mean,
        std=data.std,
        albumentations=augment.albumentations,
    )


def _sampling_stages(recipe: Recipe) -> list[tuple[int, str]]:
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
    return sorted(switches.items())
