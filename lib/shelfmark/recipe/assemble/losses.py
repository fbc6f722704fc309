"""The losses of a recipe, each with what belongs to it."""

from __future__ import annotations

import torch

from shelfmark.core.errors import UserError
from shelfmark.data.table import Table
from shelfmark.engine.memory import CrossBatchMemory
from shelfmark.engine.terms import LossTerm
from shelfmark.losses import LossContext, LossEntry, RetrievalLossEntry
from shelfmark.recipe.tree import Recipe


def loss_terms(recipe: Recipe, table: Table, device: torch.device, steps_per_epoch: int) -> list[LossTerm]:
    """The losses, with unique names: a repeated name is followed by the loss's head, or by its first epoch."""
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
                name=name,
                head=config.head,
                weight=config.weight,
                function=config.build(context),
                consumes=config.loss_class.consumes,
                scale=recipe.model.classifier.scale if config.head == "classifier" else 1.0,
                memory=_memory(config, device),
                first_step=config.from_epoch * steps_per_epoch,
                end_step=config.until_epoch * steps_per_epoch or None,
                vectors_head=config.inputs.get("vectors_head", ("", "vectors"))[0],
            )
        )
    return terms


def _memory(config: LossEntry, device: torch.device) -> CrossBatchMemory | None:
    if not isinstance(config, RetrievalLossEntry) or not config.memory_rows:
        return None
    return CrossBatchMemory(config.memory_rows, config.memory_from_step, device)
