"""What a recipe makes of a loss of two heads, a head's hidden layer and several views of an image."""

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
from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data.table import Table
from shelfmark.engine.precision import Precision
from shelfmark.recipe import assemble
from shelfmark.recipe.tree import Recipe
from shelfmark.runtime.small_runs import smoke_overrides

CPU = torch.device("cpu")
HEADS = "model.heads={contrast: {dim: 8, hidden_dim: 16}, rank: {dim: 8}, proxies: {type: proxy, dim: 8}}"
SMALL = ["model.backbone=test_resnet", "optim.lr=0.01", HEADS]
GPACO = "losses=[{name: gpaco, vectors_head: contrast, memory_rows: 32}]"


def recipe(*overrides: str) -> Recipe:
    return load(Recipe, None, [parse_override(text) for text in overrides]).config


def table() -> Table:
    """Of three classes with 5, 2 and 1 images."""
    names = Strings.of([f"{row}.jpg" for row in range(8)])
    return Table(names, np.array([0, 0, 0, 0, 0, 1, 1, 2]), names, num_classes=3, root=Path("/shop"), sha256="")


@pytest.mark.parametrize("classifier", ["linear", "cosine"])
def test_gpaco_trains_the_classifier_and_its_metric_head_and_no_other(classifier: str) -> None:
    config = recipe(*SMALL, GPACO, f"model.classifier.type={classifier}")
    network = assemble.network(config, num_classes=3)
    (term,) = assemble.loss_terms(config, table(), CPU, steps_per_epoch=1)
    step = step_of(network, [term], assemble.optimizer(config, network), Precision("fp32", CPU))
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    losses = step(Batch(images, torch.tensor([0, 0, 0, 1, 1, 1, 2, -1]), torch.arange(8)), learning_rate=0.01).losses
    assert losses["gpaco"].isfinite()
    changed = {name for name, parameter in network.named_parameters() if not torch.equal(parameter, before[name])}
    heads = {name for name in before if name.startswith(("classifier", "heads"))}
    assert changed & heads == {name for name in heads if name.startswith(("classifier", "heads.contrast"))}
    assert term.memory is not None
    vectors, _ = term.memory.rows_at(0) or pytest.fail("the batch is in the memory")
    assert vectors.shape == (8, 8)


def test_a_head_has_the_hidden_layer_that_the_recipe_says() -> None:
    network = assemble.network(recipe(*SMALL, GPACO), num_classes=3)
    assert network.heads["contrast"].get_parameter("projection.0.weight").shape[0] == 16
    assert list(network.heads["rank"].state_dict()) == ["projection.weight", "projection.bias"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["losses=[{name: gpaco}]"], "losses.0.vectors_head is missing"),
        (
            ["losses=[{name: gpaco, vectors_head: contrast}]"],
            "losses.0.vectors_head='contrast' is not a head of the model; there are: classifier."
            " Add it with model.heads: {contrast: {}}",
        ),
        (
            [HEADS, "losses=[{name: gpaco, vectors_head: proxies}]"],
            "losses.0.vectors_head='proxies' gives cosines and proxies, but gpaco takes vectors."
            " Write vectors_head: rank, with model.heads: {rank: {dim: 128}}.",
        ),
        (
            [HEADS, "losses=[{name: gpaco, head: rank, vectors_head: rank}]"],
            "losses.0.head='rank' gives vectors, but gpaco takes logits. Write head: classifier.",
        ),
        ([HEADS, "losses=[{name: gpaco, vectors_head: rank, beta: 0}]"], "beta=0.0 must be a finite number above 0"),
        (["model.heads={rank: {hidden_dim: 8}}"], "hidden_dim=8 stands before a projection; set dim too"),
        (
            ["train.batch_size=65", "augment.views=2"],
            "is not a multiple of augment.views=2; use a batch size of 64 or 66",
        ),
        (["train.batch_size=2", "augment.views=3"], "is not a multiple of augment.views=3; use a batch size of 3"),
        (["augment.views=0"], "augment.views=0"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_line_to_write(options: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        recipe(*options)
    assert said in str(caught.value)


def test_a_small_run_has_a_batch_that_the_views_fill() -> None:
    options = [parse_override(text) for text in ("train.batch_size=66", "augment.views=3")]
    small = load(Recipe, None, [*options, *smoke_overrides(load(Recipe, None, options).config)]).config
    assert (small.train.batch_size, small.augment.views) == (24, 3)


def test_gpaco_is_refused_where_images_are_mixed() -> None:
    with pytest.raises(UserError, match="two labels, which the loss gpaco cannot take"):
        assemble.mixing(recipe(*SMALL, GPACO, "augment.mixup=0.2"), table())


def test_the_loader_has_the_views_and_an_epoch_their_number_of_times_the_steps() -> None:
    options = [*SMALL, "data.num_workers=0", "train.batch_size=4"]
    once = assemble.train_loader(recipe(*options), table(), CPU)
    twice = assemble.train_loader(recipe(*options, "augment.views=2"), table(), CPU)
    assert (once.num_batches(0), twice.num_batches(0)) == (2, 4)
    for rows in twice.order.rows(0).tolist():
        assert rows[:2] == rows[2:]
        assert len(set(rows)) == 2
