"""Checks that the sections of a recipe fit each other. Each raises ValueError, which becomes a ConfigError."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from shelfmark.losses import HeadOutput
from shelfmark.models.options import ModelOptions
from shelfmark.recipe.frozen_epochs import cached_epochs, epochs_of_stages

if TYPE_CHECKING:
    from shelfmark.recipe.tree import Recipe, TrainStage


def require_sections_that_fit(recipe: Recipe) -> None:
    """All checks of this file, in their order; the first that fails raises ValueError."""
    _require_possible_stages(recipe)
    _require_something_to_cache(recipe)
    _require_heads_that_give_what_losses_take(recipe)
    _require_losses_that_teach_every_expert(recipe)
    _require_whole_views(recipe)
    _require_jitter_that_can_come_last(recipe)
    _require_one_way_through_the_batch(recipe)
    _require_losses_that_add(recipe)


def _require_possible_stages(recipe: Recipe) -> None:
    for index, stage in enumerate(recipe.train.stages):
        place = f"train.stages.{index}"
        if stage.classifier == "scale":
            _require_something_to_scale(recipe, place, stage)
        if stage.adapt_frozen_bn_statistics and recipe.model.freeze_bn:
            raise ValueError(
                f"{place}.adapt_frozen_bn_statistics=true updates the statistics that model.freeze_bn=true keeps;"
                " remove one of the two"
            )
        if stage.remix and not any(recipe.mixing_of(index + 1)[:2]):
            raise ValueError(f"{place}.remix={stage.remix} shifts the labels of mixed images; set mixup or cutmix too")


def _require_something_to_cache(recipe: Recipe) -> None:
    """train.cache_features needs epochs whose features of an image are those of its stored views."""
    views = recipe.train.cache_features.views
    frozen = cached_epochs(recipe)
    if views and not frozen:
        raise ValueError(
            f"train.cache_features.views={views} stores the features of a frozen backbone, and no stage freezes the"
            " whole backbone and its statistics. Set model.freeze: [backbone], and train.stages: [{from_epoch: N,"
            " freeze: []}] if the whole network is trained afterwards; or set views to 0"
        )
    for stage, epochs in enumerate(epochs_of_stages(recipe)):
        if any(epochs.start in one for one in frozen) and any(recipe.mixing_of(stage)[:2]):
            place = f"train.stages.{stage - 1}" if stage else "augment"
            raise ValueError(
                f"{place}: mixup and cutmix mix images, and train.cache_features.views={views} trains this stage on"
                " stored features; set both to 0 there (a later stage of train.stages can have its own)"
            )
    for size in recipe.augment.sizes:
        if any(size.from_epoch in one[1:] for one in frozen):
            raise ValueError(
                f"augment.sizes changes the size in epoch {size.from_epoch}, in the middle of epochs that"
                f" train.cache_features.views={views} trains on stored features; let it change where they begin or end"
            )


def _require_something_to_scale(recipe: Recipe, place: str, stage: TrainStage) -> None:
    if recipe.model.classifier.type == "cosine":
        raise ValueError(
            f"{place}.classifier='scale' needs a linear classifier; the logits of a cosine classifier must stay"
            " cosines, because losses rely on them. Use restart, or model.classifier.type=linear"
        )
    if "classifier" in (recipe.model.freeze if stage.freeze is None else stage.freeze):
        raise ValueError(
            f"{place}.classifier='scale' learns factors of the classifier, but `classifier` is in freeze; remove it"
            " there: its weight and bias are frozen anyway"
        )
    if all(loss.head in recipe.model.heads for loss in recipe.losses):
        raise ValueError(f"{place}.classifier='scale' needs a loss on the head classifier, and there is none")


def _require_heads_that_give_what_losses_take(recipe: Recipe) -> None:
    heads = {"classifier", *recipe.model.expert_outputs, *recipe.model.heads}
    wanted = [
        (f"losses.{index}.{option}", loss.name, head, consumed)
        for index, loss in enumerate(recipe.losses)
        for option, (head, consumed) in loss.inputs.items()
    ]
    for option, name, head, consumed in wanted:
        if head not in heads:
            raise ValueError(
                f"{option}={head!r} is not a head of the model; there are:"
                f" {', '.join(sorted(heads))}. {_line_that_adds(head, consumed, recipe.model.experts)}"
            )
        produced = _produced(recipe.model, head)
        if consumed not in produced:
            line = _HEADS_THAT_PRODUCE[consumed].replace("head:", f"{option.rpartition('.')[2]}:")
            raise ValueError(f"{option}={head!r} gives {' and '.join(produced)}, but {name} takes {consumed}. {line}")


def _require_losses_that_teach_every_expert(recipe: Recipe) -> None:
    experts = recipe.model.expert_outputs
    used = {head for loss in recipe.losses for head, _ in loss.inputs.values()}
    taught = {loss.head for loss in recipe.losses if loss.loss_class.consumes != "experts"}
    missing = [head for head in experts[1:] if head not in taught]
    if used & {*experts} and missing and not taught & {"classifier", "experts"}:
        raise ValueError(
            f"losses: no loss trains {' or '.join(missing)} to tell the classes apart; add one, such as"
            f" {{name: cross_entropy, head: {missing[0] if taught else 'experts'}}}"
        )
    if any(loss.loss_class.consumes == "logits_and_vectors" and loss.head == "experts" for loss in recipe.losses):
        raise ValueError(
            "losses: a loss that also compares vectors takes the logits of one expert; write head: expert_1"
        )


def _require_whole_views(recipe: Recipe) -> None:
    views, batch_size = recipe.augment.views, recipe.train.batch_size
    if batch_size % views:
        lower = batch_size // views * views
        fitting = f"{lower} or {lower + views}" if lower else f"{views}"
        raise ValueError(
            f"train.batch_size={batch_size} is not a multiple of augment.views={views}; use a batch size of {fitting}"
        )


def _require_jitter_that_can_come_last(recipe: Recipe) -> None:
    if recipe.data.color_jitter_on == "workers":
        return
    place = "data.color_jitter_on=device"
    if recipe.data.pipeline == 1:
        raise ValueError(f"{place} needs pixels of 8 bits on the device; set data.pipeline=2")
    if recipe.augment.albumentations is not None:
        raise ValueError(f"{place} has no jitter to compute beside augment.albumentations; set it to workers")
    if recipe.augment.randaugment.num_ops:
        raise ValueError(
            f"{place} would come after RandAugment, which changes the jittered image; set it to workers, or"
            " augment.randaugment.num_ops=0"
        )


def _require_one_way_through_the_batch(recipe: Recipe) -> None:
    train = recipe.train
    if train.grad_cache and train.accumulate_steps > 1:
        raise ValueError(
            f"train.grad_cache={train.grad_cache} and train.accumulate_steps={train.accumulate_steps} both take the"
            " batch in parts; accumulate_steps is the faster one, where all losses add over images. Keep one of the two"
        )
    if train.grad_cache and train.compile:
        raise ValueError(
            f"train.grad_cache={train.grad_cache} passes each part twice, with the same random numbers, which compiled"
            " code does not promise; set train.compile=false, or train.grad_cache=0"
        )
    if train.grad_cache and recipe.model.grad_checkpointing:
        raise ValueError(
            f"train.grad_cache={train.grad_cache} keeps the activations of one part only; set"
            " model.grad_checkpointing=false, and a smaller grad_cache where the memory is still too small"
        )
    if train.accumulate_steps > train.batch_size:
        raise ValueError(
            f"train.accumulate_steps={train.accumulate_steps} parts of train.batch_size={train.batch_size} images"
            " cannot be made; give a number of parts that each hold at least two images"
        )


def _require_losses_that_add(recipe: Recipe) -> None:
    """Only a loss that is a sum over images is the same from the parts of a batch."""
    if recipe.train.accumulate_steps == 1:
        return
    for index, loss in enumerate(recipe.losses):
        if not loss.loss_class.adds_over_rows:
            raise ValueError(
                f"train.accumulate_steps={recipe.train.accumulate_steps}: losses.{index}, {loss.name}, depends on the"
                " batch as a whole, and cannot be added up from its parts. train.grad_cache=N takes the batch through"
                " the backbone N images at a time with the exact gradient of any loss; set it, and accumulate_steps=1"
            )


def _produced(model: ModelOptions, head: str) -> tuple[HeadOutput, ...]:
    """The kinds of output that a loss may consume from this head."""
    if head in model.expert_outputs:
        return ("logits", "experts") if head == "experts" else ("logits",)
    if head != "classifier":
        return ("cosines", "proxies") if model.heads[head].type == "proxy" else ("vectors",)
    return ("logits", "cosines") if model.classifier.type == "cosine" else ("logits",)


def _line_that_adds(head: str, consumed: HeadOutput, num_experts: int) -> str:
    if re.fullmatch(r"experts|expert_\d+", head):
        if num_experts > 1:
            return f"Experts are numbered from 1 to model.experts, which is {num_experts}"
        return "Add it with model.experts: 3"
    return f"Add it with model.heads: {{{head}: {'{type: proxy}' if consumed in ('cosines', 'proxies') else '{}'}}}"


_HEADS_THAT_PRODUCE: dict[HeadOutput, str] = {
    "logits": "Write head: classifier.",
    "vectors": "Write head: rank, with model.heads: {rank: {dim: 128}}.",
    "cosines": "Write head: proxies, with model.heads: {proxies: {type: proxy, dim: 128}}, or head: classifier, with"
    " model.classifier.type: cosine.",
    "proxies": "Write head: proxies, with model.heads: {proxies: {type: proxy, dim: 128}}.",
    "experts": "Write head: experts, with model.experts: 3.",
}
