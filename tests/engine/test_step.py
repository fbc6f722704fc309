"""One optimizer step: what it computes, updates and reports."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from steps import step_of
from torch import Tensor, nn

from shelfmark.core.contracts import Batch, Outputs
from shelfmark.engine.step import TrainStep
from shelfmark.engine.terms import LossTerm
from shelfmark.losses import QueryBlock, RetrievalLoss, Sums


class Linear(nn.Module):
    """embedding = mean of the pixels of each channel; logits = embedding @ weight.T."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.weight = nn.Parameter(torch.eye(2, 3))

    def forward(self, images: Tensor) -> Outputs:
        embedding = images.mean(dim=(2, 3)) * self.scale
        return Outputs(embedding, {"classifier": embedding @ self.weight.T, "rank": embedding})


class _MeanSquare(RetrievalLoss):
    def sums(self, block: QueryBlock) -> Sums:
        return Sums(block.query.square().sum()[None], torch.tensor([block.query.numel()]))


class _Absolute(RetrievalLoss):
    def sums(self, block: QueryBlock) -> Sums:
        return Sums(block.query.abs().sum()[None], torch.ones(1))


def _batch() -> Batch:
    images = torch.arange(24.0).reshape(2, 3, 2, 2) / 10
    return Batch(images, torch.tensor([0, 1]), torch.tensor([5, 6]))


def _step(network: nn.Module, terms: list[LossTerm], clip_norm: float = 0.0, lr_factor: float = 1.0) -> TrainStep:
    groups = [{"params": list(network.parameters()), "lr": 1.0, "lr_factor": lr_factor}]
    return step_of(network, terms, torch.optim.SGD(groups, lr=1.0), clip_norm=clip_norm)


TERMS = [
    LossTerm("square", "classifier", 0.5, _MeanSquare()),
    LossTerm("absolute", "rank", 0.25, _Absolute()),
]


def test_the_loss_is_the_weighted_sum_of_the_terms() -> None:
    network = Linear()
    outputs = network(_batch().images)
    square, absolute = outputs.logits.square().mean(), outputs.embedding.abs().sum()
    losses = _step(network, TERMS)(_batch(), learning_rate=0.0).losses
    expected = [square.item(), absolute.item(), (0.5 * square + 0.25 * absolute).item()]
    assert [float(losses[name]) for name in ("square", "absolute", "loss")] == pytest.approx(expected)


def test_the_step_goes_down_the_gradient_at_the_given_rate_and_the_groups_factor() -> None:
    network, twin = Linear(), Linear()
    _step(network, TERMS, lr_factor=2.0)(_batch(), learning_rate=0.01)
    outputs = twin(_batch().images)
    (0.5 * outputs.logits.square().mean() + 0.25 * outputs.embedding.abs().sum()).backward()
    for ours, theirs in zip(network.parameters(), twin.parameters()):
        torch.testing.assert_close(ours, theirs - 0.02 * theirs.grad)


def test_a_term_counts_from_its_first_step_to_its_end_and_is_logged_always() -> None:
    late = [TERMS[0], replace(TERMS[1], first_step=3, end_step=5)]
    for step, counts in ((0, False), (2, False), (3, True), (4, True), (5, False)):
        losses = _step(Linear(), late)(_batch(), learning_rate=0.0, step=step).losses
        assert losses["absolute"] > 0
        assert float(losses["loss"]) == pytest.approx(
            float(0.5 * losses["square"] + 0.25 * losses["absolute"] * counts)
        )


def test_mixing_comes_before_the_forward_pass() -> None:
    def blank(images: Tensor, labels: Tensor, step: int, rank: int) -> tuple[Tensor, Tensor]:
        assert (step, rank) == (7, 0)
        return torch.zeros_like(images), labels

    network = Linear()
    step = step_of(network, TERMS[:1], torch.optim.SGD(network.parameters(), lr=1.0), mixing=blank)  # type: ignore[arg-type]
    assert float(step(_batch(), learning_rate=0.0, step=7).losses["square"]) == 0


def test_clipping_bounds_the_whole_update() -> None:
    network = Linear()
    before = [parameter.clone() for parameter in network.parameters()]
    _step(network, TERMS, clip_norm=0.5)(_batch(), learning_rate=1.0)
    moved = torch.cat([(old - new).flatten() for old, new in zip(before, network.parameters())])
    assert float(moved.detach().norm()) == pytest.approx(0.5, rel=1e-4)


def test_each_terms_gradient_norm_at_the_embedding_is_reported_when_asked_for() -> None:
    network = Linear()
    norms = _step(network, TERMS)(_batch(), learning_rate=0.0, measure_gradients=True).gradient_norms
    # |x| has slope 1 everywhere here: six entries of 0.25.
    assert float(norms["absolute"]) == pytest.approx(0.25 * 6**0.5)
    embedding = network(_batch().images).embedding.detach()
    # d/de of 0.5 * mean over 4 logits of logit^2, and the logits are the first two entries of e.
    assert float(norms["square"]) == pytest.approx(float((0.5 * 2 / 4 * embedding[:, :2]).norm()))
    assert _step(network, TERMS)(_batch(), learning_rate=0.0).gradient_norms == {}


def test_measuring_gradients_changes_no_update() -> None:
    networks = Linear(), Linear()
    for network, measures in zip(networks, (False, True)):
        _step(network, TERMS)(_batch(), learning_rate=0.1, measure_gradients=measures)
    for plain, measured in zip(networks[0].parameters(), networks[1].parameters()):
        assert torch.equal(plain, measured)
