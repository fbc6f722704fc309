"""Losses on the heads of experts: which recipes are taken, and what each loss then computes and teaches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from steps import step_of

from shelfmark.config.errors import ConfigError
from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.contracts import Batch
from shelfmark.core.strings import Strings
from shelfmark.data.table import Table
from shelfmark.engine.precision import Precision
from shelfmark.losses import CrossEntropy
from shelfmark.recipe import assemble
from shelfmark.recipe.tree import Recipe

CPU = torch.device("cpu")
SMALL = ["model.backbone=test_resnet", "model.experts=3", "model.embedding_dim=4", "optim.lr=0.01"]
RIDE = "losses=[{name: cross_entropy, head: experts}, {name: expert_diversity, weight: 0.2}]"
SADE = (
    "losses=[{name: cross_entropy, head: expert_1}, {name: balanced_softmax, head: expert_2},"
    " {name: inverse_softmax, head: expert_3}]"
)


def recipe(*overrides: str) -> Recipe:
    return load(Recipe, None, [parse_override(text) for text in overrides]).config


def table() -> Table:
    """Of three classes with 5, 2 and 1 images."""
    names = Strings.of([f"{row}.jpg" for row in range(8)])
    return Table(names, np.array([0, 0, 0, 0, 0, 1, 1, 2]), names, num_classes=3, root=Path("/shop"), sha256="")


def batch() -> Batch:
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return Batch(images, torch.tensor([0, 0, 0, 1, 1, 1, 2, -1]), torch.arange(8))


@pytest.mark.parametrize(
    ("losses", "more"),
    [
        (RIDE, ["train.grad_cache=4"]),
        (SADE, ["augment.mixup=0.4"]),
        (SADE, []),
        ("losses=[{name: cross_entropy}]", ["train.grad_cache=4", "augment.mixup=0.4"]),
    ],
)
def test_every_expert_learns_in_a_step(losses: str, more: list[str]) -> None:
    config = recipe(*SMALL, losses, *more)
    network = assemble.network(config, num_classes=3)
    terms = assemble.loss_terms(config, table(), CPU, steps_per_epoch=1)
    step = step_of(
        network,
        terms,
        assemble.optimizer(config, network),
        Precision("fp32", CPU),
        grad_cache=config.train.grad_cache,
        mixing=assemble.mixing(config, table()),
    )
    labelled = batch() if not more else Batch(batch().images, torch.tensor([0, 0, 0, 1, 1, 1, 2, 2]), torch.arange(8))
    found = step(labelled, learning_rate=0.01, measure_gradients=True)
    # Residual branches begin with a factor of 0: what lies behind it learns from the second step on.
    step(labelled, learning_rate=0.01)
    assert all(value.isfinite() for value in found.losses.values())
    assert all(float(norm) > 0 for norm in found.gradient_norms.values())
    assert [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()] == []


def test_a_loss_on_all_experts_is_the_mean_of_its_values_on_each_also_of_mixed_labels() -> None:
    config = recipe(*SMALL, RIDE)
    network = assemble.network(config, num_classes=3)
    term = assemble.loss_terms(config, table(), CPU, steps_per_epoch=1)[0]
    outputs = network(batch().images)
    soft = torch.rand(8, 3, generator=torch.Generator().manual_seed(1))
    for labels in (batch().labels, soft / soft.sum(1, keepdim=True)):
        values = [CrossEntropy()(outputs.heads[f"expert_{number}"], labels) for number in (1, 2, 3)]
        torch.testing.assert_close(term.value(outputs, labels, 0), torch.stack(values).mean())


def test_the_diversity_takes_the_experts_as_they_are() -> None:
    config = recipe(*SMALL, RIDE)
    network = assemble.network(config, num_classes=3)
    term = assemble.loss_terms(config, table(), CPU, steps_per_epoch=1)[1]
    outputs, labels = network(batch().images), batch().labels
    value = float(term.value(outputs, labels, 0).detach())
    assert value == float(term.function(outputs.heads["experts"], labels).detach()) < 0


def test_a_loss_of_an_expert_keeps_the_classifier_learning_and_no_loss_of_it_freezes_it() -> None:
    assert assemble.network(recipe(*SMALL, SADE), num_classes=3).classifier.weight.requires_grad
    rank = ["model.heads={rank: {dim: 8}}", "losses=[{name: smooth_ap, head: rank}]"]
    assert not assemble.network(recipe(*SMALL, *rank), num_classes=3).classifier.weight.requires_grad


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            [*SMALL, "losses=[{name: cross_entropy, head: expert_4}]"],
            "losses.0.head='expert_4' is not a head of the model; there are: classifier, expert_1, expert_2, expert_3,"
            " experts. Experts are numbered from 1 to model.experts, which is 3",
        ),
        (["losses=[{name: expert_diversity}]"], "Add it with model.experts: 3"),
        (
            [*SMALL, "losses=[{name: cross_entropy}, {name: expert_diversity, head: classifier}]"],
            "losses.1.head='classifier' gives logits, but expert_diversity takes experts."
            " Write head: experts, with model.experts: 3.",
        ),
        (
            [*SMALL, "losses=[{name: expert_diversity, head: expert_1}]"],
            "losses.0.head='expert_1' gives logits, but expert_diversity takes experts.",
        ),
        (
            [*SMALL, "losses=[{name: smooth_ap, head: experts}]"],
            "losses.0.head='experts' gives logits and experts, but smooth_ap takes vectors.",
        ),
        (
            [*SMALL, "losses=[{name: ldam, head: experts}]"],
            "losses.0.head='experts' gives logits and experts, but ldam takes cosines.",
        ),
        (
            [*SMALL, "losses=[{name: cross_entropy, head: expert_1}, {name: expert_diversity}]"],
            "expert_2 or expert_3 to tell the classes apart; add one, such as {name: cross_entropy, head: expert_2}",
        ),
        (
            [*SMALL, "losses=[{name: expert_diversity}]"],
            "add one, such as {name: cross_entropy, head: experts}",
        ),
        (
            [*SMALL, "model.heads={rank: {dim: 8}}", "losses=[{name: gpaco, head: experts, vectors_head: rank}]"],
            "a loss that also compares vectors takes the logits of one expert; write head: expert_1",
        ),
        (
            [*SMALL, "model.classifier.type=cosine"],
            "experts=3 share one linear classifier; set classifier.type: linear",
        ),
        ([*SMALL, "model.heads={expert_2: {dim: 4}}"], "`expert_2` is the name of experts' logits"),
        (["model.experts=0"], "model.experts=0"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_line_to_write(options: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        recipe(*options)
    assert said in str(caught.value)


def test_a_head_may_be_called_experts_where_there_are_none() -> None:
    config = recipe("model.heads={experts: {dim: 4}}", "losses=[{name: smooth_ap, head: experts}]")
    assert (config.model.expert_outputs, [*config.model.heads]) == ((), ["experts"])
