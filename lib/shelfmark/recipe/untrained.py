"""Heads that no loss trains: their scores are those of the weights that they began with."""

from __future__ import annotations

from shelfmark.core.score_names import CLASS_SCORES
from shelfmark.recipe.assemble.model import heads_without_loss
from shelfmark.recipe.tree import Recipe

CLASSIFIER = "classifier"


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
    if leaves_classifier_untrained(recipe) and metric in CLASS_SCORES:
        told.append(
            f"eval.metric={metric} chooses best_model by the classifier, and no loss trains the classifier, so its"
            " weights stay as they are. Set eval.metric=recall@1, or add a loss with head: classifier."
        )
    return told


def leaves_classifier_untrained(recipe: Recipe) -> bool:
    """Whether a run has a classifier whose answers say nothing: no loss trains it, and it begins with random weights,
    or with those of another run whose features have moved since."""
    return CLASSIFIER in heads_without_loss(recipe) and recipe.model.classifier.init != "class_means"
