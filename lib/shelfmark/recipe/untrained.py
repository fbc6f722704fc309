"""Heads that no loss trains: their scores are those of the weights that they began with."""

from __future__ import annotations

from shelfmark.recipe.assemble.model import heads_without_loss
from shelfmark.recipe.tree import Recipe

_OF_THE_CLASSIFIER = ("top1", "top5", "mean_class_accuracy", "mean_class_error", "many", "medium", "few", "ece")


def untrained_heads(recipe: Recipe) -> list[str]:
    """A sentence on each head that no loss trains; on the classifier only where its scores choose the best model."""
    modules = heads_without_loss(recipe)
    told = [
        f"model.heads.{name}: no loss trains this head, so its weights stay as they are. Take it out with"
        f" model.heads.{name}=null, or add a loss with head: {name}."
        for name in recipe.model.heads
        if f"heads.{name}" in modules
    ]
    metric = recipe.eval.metric
    if "classifier" in modules and metric in _OF_THE_CLASSIFIER and recipe.model.classifier.init != "class_means":
        told.append(
            f"eval.metric={metric} chooses best_model by the classifier, and no loss trains the classifier, so its"
            " weights stay as they are. Set eval.metric=recall@1, or add a loss with head: classifier."
        )
    return told
