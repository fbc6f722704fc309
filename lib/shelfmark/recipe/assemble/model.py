"""The network that a recipe describes."""

from __future__ import annotations

from shelfmark.models import Network, build_network
from shelfmark.models.backbones.shape import BackboneShape
from shelfmark.models.network import AdapterOptions, HeadOptions
from shelfmark.recipe.tree import Head, Recipe


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
        freeze=[*model.freeze, *heads_without_loss(recipe)],
        freeze_bn=model.freeze_bn,
        freeze_bn_affine=model.freeze_bn_affine,
        channels_last=model.channels_last,
        experts=model.experts,
        expert_stages=model.expert_stages,
        seed=recipe.seed,
    )


def _head_options(head: Head) -> HeadOptions:
    return HeadOptions(head.dim, head.type, head.centers_per_class, head.hidden_dim)


def heads_without_loss(recipe: Recipe) -> list[str]:
    # What no loss trains would only decay, and DistributedDataParallel would wait for its gradient.
    used = {head for loss in recipe.losses for head, _ in loss.wants().values()}
    if not used.isdisjoint(recipe.model.expert_heads):
        used.add("classifier")  # an expert's logits are those of a block of its weight
    modules = {"classifier": "classifier", **{name: f"heads.{name}" for name in recipe.model.heads}}
    return [module for name, module in modules.items() if name not in used]
