"""The average of the weights: its arithmetic by hand, and how a run goes on with it, without it, or begins with it."""

from __future__ import annotations

import copy

import pytest
import torch
from steps import step_of
from torch import Tensor, nn

from shelfmark.core.contracts import Batch, Outputs
from shelfmark.engine.ema import WeightAverage
from shelfmark.engine.options import EmaOptions
from shelfmark.engine.step import TrainStep
from shelfmark.engine.terms import LossTerm
from shelfmark.losses import CrossEntropy

Weights = dict[str, Tensor]
BATCH_NORM = "backbone.2.running_var"


class Small(nn.Module):
    """Batch-normalised pixels and a classifier; and a mask, as some transformers have one."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4))
        self.classifier = nn.Linear(4, 3)
        self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))

    def forward(self, images: Tensor) -> Outputs:
        embedding = self.backbone(images)
        return Outputs(embedding, {"classifier": self.classifier(embedding)})


def stepping(decay: float = 0.28, warmup: bool = True) -> TrainStep:
    torch.manual_seed(0)
    network = Small()
    terms = [LossTerm("cross_entropy", "classifier", 1.0, CrossEntropy())]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    return step_of(network, terms, optimizer, ema=EmaOptions(decay=decay, warmup=warmup))


def batch(seed: int, broken: bool = False) -> Batch:
    images = torch.randn(6, 3, 2, 2, generator=torch.Generator().manual_seed(seed))
    if broken:
        images[1, 0] = float("nan")
    return Batch(images, torch.tensor([0, 0, 1, 1, 2, 2]), torch.arange(6))


def weights(network: nn.Module) -> Weights:
    return {name: value.clone() for name, value in network.state_dict().items()}


def trained(step: TrainStep, seeds: range, broken_at: int | None = None) -> list[Weights]:
    """The network's weights before the first step and after each."""
    found = [weights(step.state.network)]
    for seed in seeds:
        step(batch(seed, broken=seed == broken_at), learning_rate=0.1, step=seed)
        found.append(weights(step.state.network))
    return found


def averages(history: list[Weights], decays: list[float]) -> Weights:
    """Of the weights, number by number in float64; whole numbers are the last ones."""
    average = {name: value.double() for name, value in history[0].items()}
    for decay, present in zip(decays, history[1:], strict=True):
        for name, value in present.items():
            moves = value.is_floating_point() and name != "mask"
            average[name] = decay * average[name] + (1 - decay) * value.double() if moves else value.double()
    return average


def assert_close(ours: Weights, expected: Weights) -> None:
    assert ours.keys() == expected.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value.double(), expected[name].double(), rtol=1e-5, atol=1e-7, msg=name)


def assert_equal(ours: Weights, expected: Weights) -> None:
    assert [name for name in ours | expected if not torch.equal(ours[name], expected[name])] == []


@pytest.mark.parametrize(
    ("warmup", "decays"), [(True, [1 / 10, 2 / 11, 3 / 12, 0.28, 0.28]), (False, [0.28] * 5)], ids=["warmup", "fixed"]
)
def test_the_average_is_that_of_a_hand_and_a_skipped_step_does_not_move_it(warmup: bool, decays: list[float]) -> None:
    step = stepping(warmup=warmup)
    history = trained(step, range(6), broken_at=2)
    assert step.state.average is not None
    assert step.state.average.num_updates == 5
    del history[3]  # the skipped step's
    average = weights(step.state.weights_to_evaluate())
    assert_close(average, averages(history, decays))
    assert not torch.equal(average[BATCH_NORM], history[-1][BATCH_NORM]), "statistics are averaged too"
    assert int(average["backbone.2.num_batches_tracked"]) == 5
    assert not [parameter for parameter in step.state.weights_to_evaluate().parameters() if parameter.requires_grad]


def test_the_network_that_learns_is_not_touched_by_the_average() -> None:
    ours, theirs = trained(stepping(), range(3)), trained(stepping(decay=0.0), range(3))
    for one, other in zip(ours, theirs):
        assert_equal(one, other)
    assert stepping(decay=0.0).state.average is None


def resumed(first: TrainStep, second: TrainStep) -> TrainStep:
    """`second`, as a run goes on from the checkpoint of `first`."""
    second.state.network.load_state_dict(first.state.weights_to_evaluate().state_dict())
    second.state.load_state_dict(copy.deepcopy(first.state.state_dict()))
    return second


def test_a_run_that_goes_on_has_the_digits_of_one_that_was_not_interrupted() -> None:
    whole, first = stepping(), stepping()
    trained(whole, range(6))
    trained(first, range(3))
    second = resumed(first, stepping())
    trained(second, range(3, 6))
    assert_equal(weights(second.state.network), weights(whole.state.network))
    assert_equal(weights(second.state.weights_to_evaluate()), weights(whole.state.weights_to_evaluate()))


def test_an_average_may_begin_and_end_where_a_run_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    without = stepping(decay=0.0)
    trained(without, range(3))
    begun = resumed(without, stepping())
    assert "the checkpoint holds no average, so the average begins with its weights" in caplog.text
    history = trained(begun, range(3, 6))
    assert_close(weights(begun.state.weights_to_evaluate()), averages(history, [1 / 10, 2 / 11, 3 / 12]))
    caplog.clear()
    ended = resumed(begun, stepping(decay=0.0))
    assert "goes on with the weights behind the average" in caplog.text
    assert_equal(weights(ended.state.weights_to_evaluate()), history[-1])
    assert "ema" not in ended.state.state_dict()


def test_a_stage_begins_with_the_averaged_weights_and_averages_anew() -> None:
    step = stepping()
    trained(step, range(3))
    state, before = step.state, weights(step.state.weights_to_evaluate())
    state.end_stage()
    assert_equal(weights(state.network), before)
    with torch.no_grad():
        state.network.classifier.weight.fill_(5.0)  # a classifier that starts again
    state.begin_stage(torch.optim.SGD(state.network.parameters(), lr=0.1))
    assert_equal(weights(state.weights_to_evaluate()), weights(state.network))
    history = trained(step, range(3, 5))
    assert_close(weights(state.weights_to_evaluate()), averages(history, [1 / 10, 2 / 11]))


def test_a_long_run_has_the_decay_that_was_asked_for() -> None:
    average = WeightAverage(Small(), EmaOptions(decay=0.999))  # type: ignore[arg-type]
    found = []
    for average.num_updates in (0, 90, 8989, 8990, 10**6):
        found.append(average.decay)
    assert found == pytest.approx([0.1, 0.91, 8990 / 8999, 0.999, 0.999])
