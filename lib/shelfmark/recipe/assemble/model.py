"""The network that a recipe describes."""

from __future__ import annotations

from shelfmark.models.backbones.input_size import require_sizes
from shelfmark.models.network import Network, build_network
from shelfmark.recipe.tree import Recipe


def network(recipe: Recipe, num_classes: int, load_weights: bool = True) -> Network:
    """The network on the CPU. load_weights: False where a checkpoint will fill it anyway.

    UserError: it does not take images of the recipe's sizes, or as `build_network`.
    """
    freeze = [*recipe.model.freeze, *heads_without_loss(recipe)]
    built = build_network(recipe.model, num_classes, recipe.seed, load_weights=load_weights, freeze=freeze)
    sizes = {
        "data.input_size_px": [recipe.data.input_size_px],
        "augment.sizes": [stage.size_px for stage in recipe.augment.sizes],
        "predict.sizes_px": recipe.predict.sizes_px,
    }
    require_sizes(built.backbone, recipe.model.backbone, sizes)
    return built


def heads_without_loss(recipe: Recipe) -> list[str]:
    """Modules of heads that no loss trains.

    Unless frozen, they would only decay, and DistributedDataParallel would wait for their gradient.
    """
    used = {head for loss in recipe.losses for head, _ in loss.inputs.values()}
    if not used.isdisjoint(recipe.model.expert_outputs):
        used.add("classifier")  # the logits of an expert come from a block of the classifier's weight
    modules = {"classifier": "classifier", **{name: f"heads.{name}" for name in recipe.model.heads}}
    return [module for name, module in modules.items() if name not in used]
