"""Gradient accumulation: a batch in parts, one update, the gradient of the whole."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from steps import step_of
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from two_processes import on_two_processes

from shelfmark.core import dist
from shelfmark.core.contracts import Batch
from shelfmark.data.mixing import Mixing
from shelfmark.engine.options import EmaOptions
from shelfmark.engine.step import StepResult, TrainStep
from shelfmark.engine.terms import LossTerm
from shelfmark.losses import CrossEntropy, ExpertDiversity, FocalLoss
from shelfmark.models.heads import LinearClassifier
from shelfmark.models.network import Network
from shelfmark.models.options import ModelOptions

COUNTS = torch.tensor([50, 5, 1])
# Rare classes, and rows without label, so that no two parts weigh the same.
LABELS = torch.tensor([0, 1, 2, 0, -1, 1, 0, 0, -1, -1, 2, 0])


def network(freeze_bn: bool = True) -> Network:
    """A convolution with batch norm and two experts on it."""
    torch.manual_seed(1)
    backbone = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Network(backbone, nn.Identity(), LinearClassifier(6, 3), {}, ModelOptions(freeze_bn=freeze_bn, experts=2))


def train_step(trained: Network, **options: Any) -> TrainStep:
    terms = [
        LossTerm("cross_entropy", "experts", 1.0, CrossEntropy(label_smoothing=0.1, weight=1 / COUNTS)),
        LossTerm("expert_diversity", "experts", 0.3, ExpertDiversity(COUNTS), consumes="experts"),
        LossTerm("focal", "classifier", 0.5, FocalLoss(gamma=2.0), first_step=1),
    ]
    return step_of(trained, terms, torch.optim.SGD(trained.parameters(), lr=1.0, momentum=0.9), **options)


def batches(num_batches: int = 3) -> list[Batch]:
    generator = torch.Generator().manual_seed(2)
    rows = torch.arange(len(LABELS))
    return [Batch(torch.randn(len(LABELS), 3, 6, 6, generator=generator), LABELS, rows) for _ in range(num_batches)]


def train(step: TrainStep, given: list[Batch]) -> list[StepResult]:
    return [step(batch, 0.2, number, measure_gradients=True) for number, batch in enumerate(given)]


def numbers(results: list[StepResult]) -> list[float]:
    """Everything that the steps report."""
    reported = [{**one.losses, **one.gradient_norms, "norm": one.gradient_norm} for one in results]
    return [float(value) for one in reported for value in one.values()]


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name], rtol=2e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("options", [{"clip_norm": 0.05}, {"mixing": Mixing(1.0, 1.0, 0.0, COUNTS.numpy(), seed=3)}])
@pytest.mark.parametrize("num_parts", [2, 5, 12])
def test_parts_without_batch_statistics_are_the_whole_batch(num_parts: int, options: dict[str, Any]) -> None:
    in_parts, whole = network(), network()
    given = batches()
    if "mixing" in options:
        # Mixed images of two classes; a row without label has none to mix.
        given = [Batch(batch.images, batch.labels.clamp_min(0), batch.rows) for batch in given]
    ours = train(train_step(in_parts, num_parts=num_parts, **options), given)
    theirs = train(train_step(whole, **options), given)
    assert numbers(ours) == pytest.approx(numbers(theirs), rel=1e-4)
    assert_same(in_parts, whole)


def test_each_part_passes_by_itself_and_batch_norm_counts_each() -> None:
    trained = network(freeze_bn=False)
    passes: list[int] = []
    trained.backbone.register_forward_pre_hook(lambda _, given: passes.append(len(given[0])))
    train(train_step(trained, num_parts=5), batches(1))
    assert passes == [3, 3, 2, 2, 2]
    assert int(trained.backbone[1].num_batches_tracked) == 5


def test_a_part_that_is_not_finite_skips_the_whole_step() -> None:
    trained = network(freeze_bn=False)
    step, given = train_step(trained, num_parts=4), batches(1)[0]
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    assert step.is_sound(given)
    given.images[1] = float("inf")
    assert not step.is_sound(given)
    assert step(given, 0.2).skipped == "the loss is not finite"
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    assert all(parameter.grad is None for parameter in trained.parameters())


def test_gradients_may_be_scaled() -> None:
    in_parts, whole = network(), network()
    step = train_step(in_parts, num_parts=5, clip_norm=0.05)
    step.state.scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    train(step, batches())
    train(train_step(whole, clip_norm=0.05), batches())
    assert_same(in_parts, whole)


def trained_on_this_process() -> dict[str, Any]:
    """Three steps on this process's half of each batch, in three parts, compiled, and their average; and how often the
    gradient was sent."""
    torch.compile = partial(torch.compile, backend="eager")
    trained = network()
    step = train_step(trained, num_parts=3, compiles=True, ema=EmaOptions(decay=0.5))
    sent: list[int] = []

    def averaged(bucket: Any) -> torch.futures.Future[torch.Tensor]:
        sent.append(bucket.index())
        total = torch.distributed.all_reduce(bucket.buffer(), async_op=True).get_future()
        return total.then(lambda found: found.value()[0] / dist.world_size())

    assert isinstance(step.state.wrapped, DistributedDataParallel)
    step.state.wrapped.register_comm_hook(None, lambda state, bucket: averaged(bucket))
    half = len(LABELS) // 2
    own = slice(half, None) if dist.rank() else slice(half)
    found = numbers(train(step, [Batch(one.images[own], one.labels[own], one.rows[own]) for one in batches()]))
    average = step.state.weights_to_evaluate().state_dict()
    return {"weights": trained.state_dict(), "average": average, "found": found, "sent": len(sent)}


@pytest.mark.dist
def test_on_two_processes_parts_are_the_whole_batch_and_gradients_are_sent_once_a_step(tmp_path: Path) -> None:
    whole = network()
    step = train_step(whole, ema=EmaOptions(decay=0.5))
    expected = numbers(train(step, batches()))
    first, second = on_two_processes(trained_on_this_process, tmp_path)
    for found in (first, second):
        assert found["found"] == pytest.approx(expected, rel=1e-4)
        for kind, network_of_one in (("weights", whole), ("average", step.state.weights_to_evaluate())):
            for name, value in network_of_one.state_dict().items():
                torch.testing.assert_close(found[kind][name], value, rtol=1e-4, atol=1e-6)
                assert torch.equal(first[kind][name], second[kind][name])
        assert found["sent"] == 3
