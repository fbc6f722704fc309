"""Which loss may stand on which head, and what the heads and losses of a recipe are built as."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from steps import step_of

from shelfmark.config.errors import ConfigError
from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.contracts import Batch, Proxies
from shelfmark.core.strings import Strings
from shelfmark.data.table import Table
from shelfmark.engine.precision import Precision
from shelfmark.recipe import assemble
from shelfmark.recipe.tree import Recipe

CPU = torch.device("cpu")
HEADS = "model.heads={rank: {dim: 8}, proxies: {type: proxy, dim: 8, centers_per_class: 2}}"
SMALL = ["model.backbone=test_resnet", "optim.lr=0.01", "optim.non_backbone_lr_factor=5", HEADS]

ON_PROXIES = (
    "adaptive_margin",
    "arcface",
    "center",
    "circle_softmax",
    "cosface",
    "proxy_anchor",
    "proxy_nca",
    "soft_triple",
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
    ("loss", "cosine"),
    [
        ("{name: cross_entropy}", False),
        ("{name: cross_entropy}", True),
        ("{name: arcface, head: classifier}", True),
        ("{name: smooth_ap, head: rank}", False),
        ("{name: pml, head: rank, loss: NTXentLoss, arguments: {temperature: 0.1}}", False),
        *[(f"{{name: {name}, head: proxies}}", False) for name in ON_PROXIES],
    ],
)
def test_every_loss_trains_on_the_head_that_gives_what_it_takes(loss: str, cosine: bool) -> None:
    config = recipe(*SMALL, f"losses=[{loss}]", f"model.classifier.type={'cosine' if cosine else 'linear'}")
    network = assemble.network(config, num_classes=3)
    terms = assemble.loss_terms(config, table(), CPU, steps_per_epoch=1)
    head = network.classifier if terms[0].head == "classifier" else network.heads[terms[0].head]
    step = step_of(network, terms, assemble.optimizer(config, network), Precision("fp32", CPU))
    before = [parameter.clone() for parameter in head.parameters()]
    losses = step(batch(), learning_rate=0.01).losses
    assert losses["loss"].isfinite()
    assert all(not torch.equal(old, new) for old, new in zip(before, head.parameters()))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["losses.0.head=rank", HEADS],
            "losses.0.head='rank' gives vectors, but cross_entropy takes logits. Write head: classifier.",
        ),
        (
            ["losses=[{name: smooth_ap, head: classifier}]"],
            "losses.0.head='classifier' gives logits, but smooth_ap takes vectors."
            " Write head: rank, with model.heads: {rank: {dim: 128}}.",
        ),
        (
            ["losses=[{name: smooth_ap, head: proxies}]", HEADS],
            "losses.0.head='proxies' gives cosines and proxies, but smooth_ap takes vectors."
            " Write head: rank, with model.heads: {rank: {dim: 128}}.",
        ),
        (
            ["losses=[{name: cross_entropy}, {name: arcface, head: classifier}]"],
            "losses.1.head='classifier' gives logits, but arcface takes cosines."
            " Write head: proxies, with model.heads: {proxies: {type: proxy, dim: 128}},"
            " or head: classifier, with model.classifier.type: cosine.",
        ),
        (
            ["losses=[{name: center, head: classifier}]", "model.classifier.type=cosine"],
            "losses.0.head='classifier' gives logits and cosines, but center takes proxies."
            " Write head: proxies, with model.heads: {proxies: {type: proxy, dim: 128}}.",
        ),
        (
            ["losses=[{name: arcface, head: faces}]"],
            "losses.0.head='faces' is not a head of the model; there are: classifier."
            " Add it with model.heads: {faces: {type: proxy}}",
        ),
        (
            ["model.heads={rank: {dim: 8, centers_per_class: 2}}"],
            "centers_per_class=2 is an option of proxy heads; add type: proxy",
        ),
        (["model.heads={classifier: {}}"], "`classifier` is the classifier's own name; call the head something else"),
        (["model.heads={a: {type: proxies}}"], "'proxy'"),
    ],
)
def test_a_loss_on_a_head_that_gives_something_else_is_refused_with_the_line_to_write(
    options: list[str], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        recipe(*options)
    assert said in str(caught.value)


def test_what_is_suggested_is_accepted() -> None:
    suggested = {
        "{name: cross_entropy, head: classifier}": [],
        "{name: smooth_ap, head: rank}": ["model.heads={rank: {dim: 128}}"],
        "{name: center, head: proxies}": ["model.heads={proxies: {type: proxy, dim: 128}}"],
        "{name: arcface, head: proxies}": ["model.heads={proxies: {type: proxy, dim: 128}}"],
        "{name: arcface, head: classifier}": ["model.classifier.type=cosine"],
    }
    for loss, overrides in suggested.items():
        assert recipe(f"losses=[{loss}]", *overrides).losses[0].name in loss


def test_heads_are_built_as_the_recipe_says() -> None:
    network = assemble.network(recipe(*SMALL, "model.embedding_dim=16"), num_classes=3)
    outputs = network(batch().images)
    assert outputs.heads["rank"].shape == (8, 8)
    assert isinstance(outputs.heads["proxies"], Proxies)
    assert outputs.heads["proxies"].weight.shape == (3, 2, 8)


def test_proxies_learn_at_the_heads_rate_and_decay_as_the_classifiers_weight_does() -> None:
    config = recipe(*SMALL, "losses=[{name: cross_entropy}, {name: arcface, head: proxies}]")
    network = assemble.network(config, num_classes=3)

    def group_of(parameter: torch.nn.Parameter) -> dict[str, Any]:
        groups = assemble.optimizer(config, network).param_groups
        return next(group for group in groups if any(one is parameter for one in group["params"]))

    of_proxies, of_classifier = group_of(network.heads["proxies"].weight), group_of(network.classifier.weight)
    assert of_proxies["name"] == of_classifier["name"] == "head"
    assert of_proxies["weight_decay"] == config.optim.weight_decay > 0
    assert of_proxies["lr_factor"] == 5


def test_a_proxy_head_without_a_loss_stays_as_it_is() -> None:
    network = assemble.network(recipe(*SMALL), num_classes=3)
    assert not any(parameter.requires_grad for parameter in network.heads["proxies"].parameters())


def test_a_cosine_classifier_hands_over_its_cosines_without_the_scale() -> None:
    config = recipe(*SMALL, "losses=[{name: arcface, head: classifier}]", "model.classifier={type: cosine, scale: 30}")
    network, [term] = (
        assemble.network(config, num_classes=3),
        assemble.loss_terms(config, table(), CPU, steps_per_epoch=1),
    )
    outputs, labels = network(batch().images), batch().labels
    cosines = outputs.logits / 30
    assert float(cosines.detach().abs().max()) <= 1
    assert float(term.value(outputs, labels, 0).detach()) == pytest.approx(
        float(term.function(cosines, labels).detach()), rel=1e-6
    )
