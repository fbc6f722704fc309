"""GradCache: the batch in parts, the gradient of the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from steps import step_of
from torch import Tensor, nn
from two_processes import on_two_processes

from shelfmark.core import dist
from shelfmark.core.contracts import Batch, Outputs
from shelfmark.core.errors import UserError
from shelfmark.engine.grad_cache import CachedNetwork
from shelfmark.engine.memory import CrossBatchMemory
from shelfmark.engine.precision import Precision
from shelfmark.engine.step import StepResult, TrainStep
from shelfmark.engine.terms import LossTerm
from shelfmark.losses import PNP, CrossEntropy
from shelfmark.models.heads import LinearClassifier, MetricHead
from shelfmark.models.network import Network
from shelfmark.models.options import HeadOptions, ModelOptions

FP32 = Precision("fp32", torch.device("cpu"))
NUM_IMAGES = 8


def network(dropout: float = 0.0, **options: Any) -> Network:
    """A convolution with batch norm, an embedding of 5, a classifier of 3 classes and a metric head."""
    torch.manual_seed(1)
    backbone = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(dropout), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    # Statistics unlike those of any batch, so that using the wrong ones shows.
    backbone[1].running_mean.fill_(0.3)
    backbone[1].running_var.fill_(0.7)
    heads = {"rank": nn.Sequential(nn.Dropout(dropout), MetricHead(5, HeadOptions(dim=4)))}
    return Network(backbone, nn.Linear(6, 5), LinearClassifier(5, 3), heads, ModelOptions(**options))


def batches(num_images: int = NUM_IMAGES, num_batches: int = 3) -> list[Batch]:
    generator = torch.Generator().manual_seed(2)
    labels = torch.arange(num_images) % 3
    rows = torch.arange(num_images)
    return [Batch(torch.randn(num_images, 3, 6, 6, generator=generator), labels, rows) for _ in range(num_batches)]


def train_step(trained: Network, precision: Precision = FP32, **options: Any) -> TrainStep:
    memory = CrossBatchMemory(10, device=precision.device)
    terms = [
        LossTerm("cross_entropy", "classifier", 1.0, CrossEntropy()),
        LossTerm("pnp", "rank", 0.5, PNP(temperature=0.1), consumes="vectors", memory=memory),
    ]
    learning = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=1.0, momentum=0.9)
    return step_of(trained, terms, optimizer, precision, **options)


def train(step: TrainStep, given: list[Batch]) -> list[StepResult]:
    return [step(batch, 0.2, index, measure_gradients=True) for index, batch in enumerate(given)]


class InParts(nn.Module):
    """The slow twin: every part's activations are kept, autograd does the rest."""

    def __init__(self, inner: Network, sizes: list[int]) -> None:
        super().__init__()
        self.inner, self.sizes = inner, sizes

    def forward(self, images: Tensor) -> Outputs:
        return self.inner.outputs(torch.cat([self.inner.embed(part) for part in images.split(self.sizes)]))


def assert_same(ours: Network, theirs: Network, tolerance: float) -> None:
    """All parameters and buffers, relative to each tensor's largest entry."""
    expected = theirs.state_dict()
    for name, value in ours.state_dict().items():
        difference = (value - expected[name]).abs().max()
        assert difference <= tolerance * expected[name].abs().max(), name


def assert_same_results(ours: list[StepResult], theirs: list[StepResult], tolerance: float) -> None:
    for one, other in zip(ours, theirs, strict=True):
        for given, expected in ((one.losses, other.losses), (one.gradient_norms, other.gradient_norms)):
            assert given.keys() == expected.keys()
            for name in given:
                assert float(given[name]) == pytest.approx(float(expected[name]), rel=tolerance), name


@pytest.mark.parametrize("clip_norm", [0.0, 0.05])
@pytest.mark.parametrize("num_images", [1, 3, 4, 7, 8, 100])
def test_without_batch_statistics_training_is_that_of_whole_batches(num_images: int, clip_norm: float) -> None:
    cached, plain = network(freeze_bn=True), network(freeze_bn=True)
    ours = train(train_step(cached, clip_norm=clip_norm, grad_cache=num_images), batches())
    theirs = train(train_step(plain, clip_norm=clip_norm), batches())
    assert_same(cached, plain, 1e-5)
    assert_same_results(ours, theirs, 1e-5)


@pytest.mark.parametrize("options", [{"freeze_bn": True}, {"freeze": ["backbone"]}])
def test_a_step_in_bfloat16_is_that_of_the_whole_batch_but_for_its_rounding(options: dict[str, Any]) -> None:
    precision = Precision("bf16", torch.device("cpu"))
    cached, plain = network(**options), network(**options)
    ours = train(train_step(cached, precision, grad_cache=3), batches(num_batches=1))
    theirs = train(train_step(plain, precision), batches(num_batches=1))
    # A weight's gradient is rounded for each part here, and once for all there.
    assert_same(cached, plain, 2e-3)
    assert_same_results(ours, theirs, 1e-5)


def test_batch_norm_and_dropout_are_those_of_parts_run_once() -> None:
    cached, twin = network(dropout=0.5), network(dropout=0.5)
    # 8 images, at most 3 at a time, evenly.
    step, slow_step = train_step(cached, grad_cache=3), train_step(twin)
    slow_step.state.wrapped = InParts(twin, [3, 3, 2])
    torch.manual_seed(7)
    ours, next_draw = train(step, batches()), torch.rand(1)
    torch.manual_seed(7)
    theirs = train(slow_step, batches())
    assert torch.equal(next_draw, torch.rand(1)), "the passes draw more or less than one pass does"
    assert int(cached.backbone[1].num_batches_tracked) == 3 * 3
    assert_same(cached, twin, 1e-5)
    assert_same_results(ours, theirs, 1e-5)


def test_gradients_may_be_scaled() -> None:
    cached, plain = network(freeze_bn=True), network(freeze_bn=True)
    step = train_step(cached, clip_norm=0.05, grad_cache=3)
    step.state.scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    train(step, batches())
    train(train_step(plain, clip_norm=0.05), batches())
    assert_same(cached, plain, 1e-5)


def test_no_pass_sees_more_images_than_asked_for_and_the_first_keeps_nothing() -> None:
    trained = network()
    passes: list[tuple[int, bool, bool]] = []

    def note(module: nn.Module, given: tuple[Tensor]) -> None:
        passes.append((len(given[0]), torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")))

    trained.backbone.register_forward_pre_hook(note)
    train(train_step(trained, Precision("bf16", torch.device("cpu")), grad_cache=3), batches(num_batches=1))
    assert passes == [(size, keeps, True) for keeps in (False, True) for size in (3, 3, 2)]


@pytest.mark.parametrize("num_images", [8, 100])
def test_a_batch_that_fits_is_passed_once(num_images: int) -> None:
    trained = network()
    passes: list[int] = []
    trained.backbone.register_forward_pre_hook(lambda _, given: passes.append(len(given[0])))
    train(train_step(trained, grad_cache=num_images), batches(num_batches=1))
    assert passes == [8]


def test_a_frozen_backbone_is_passed_once() -> None:
    cached, plain = (network(freeze=["backbone", "embedding"]) for _ in range(2))
    passes: list[int] = []
    cached.backbone.register_forward_pre_hook(lambda _, given: passes.append(len(given[0])))
    ours = train(train_step(cached, grad_cache=4), batches())
    theirs = train(train_step(plain), batches())
    assert passes == [4, 4] * 3
    assert_same(cached, plain, 1e-5)
    assert_same_results(ours, theirs, 1e-5)


def test_what_the_backbone_does_not_use_has_no_gradient() -> None:
    trained = network()
    trained.backbone.register_parameter("unused", nn.Parameter(torch.ones(2)))
    train(train_step(trained, grad_cache=4), batches(num_batches=1))
    assert trained.backbone.unused.grad is None
    assert torch.equal(trained.backbone.unused, torch.ones(2))


def test_a_part_of_one_image_is_refused_where_batch_norm_learns() -> None:
    with pytest.raises(UserError, match=r"batch of one image.*train\.grad_cache"):
        train(train_step(network(), grad_cache=2), batches(num_images=3))
    train(train_step(network(), grad_cache=3), batches(num_images=4))


def test_the_gradient_is_exact_in_double_precision() -> None:
    cached, plain = network(freeze_bn=True).double(), network(freeze_bn=True).double()
    images = batches()[0].images.double()
    for outputs in (CachedNetwork(cached, 3, FP32)(images), plain(images)):
        (outputs.logits.logsumexp(1).sum() + outputs.heads["rank"].pow(3).sum()).backward()
    for ours, theirs in zip(cached.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.gpu
def test_on_a_gpu_dropout_is_that_of_parts_run_once() -> None:
    device = torch.device("cuda", 0)
    cached, twin = network(dropout=0.5).to(device), network(dropout=0.5).to(device)
    step = train_step(cached, Precision("fp32", device), grad_cache=3)
    slow_step = train_step(twin, Precision("fp32", device))
    slow_step.state.wrapped = InParts(twin, [3, 3, 2])
    torch.manual_seed(7)
    ours, next_draw = train(step, batches()), torch.rand(1, device=device)
    torch.manual_seed(7)
    theirs = train(slow_step, batches())
    assert torch.equal(next_draw, torch.rand(1, device=device))
    assert_same(cached, twin, 1e-4)
    assert_same_results(ours, theirs, 1e-4)


@pytest.mark.gpu
def test_on_a_gpu_the_activations_are_those_of_a_part() -> None:
    device = torch.device("cuda", 0)
    peaks = []
    for grad_cache in (0, 16):
        step = train_step(network().to(device), Precision("fp32", device), grad_cache=grad_cache)
        batch = Batch(torch.randn(256, 3, 64, 64), torch.arange(256) % 3, torch.arange(256))
        step(batch, 0.1)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(batch, 0.1)
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[1] < 0.4 * peaks[0]


def trained_on_this_process() -> dict[str, Any]:
    """What three steps make of this process's part of each batch, in one go and in parts."""
    found: dict[str, Any] = {}
    for name, grad_cache in (("plain", 0), ("cached", 3)):
        trained = network(freeze_bn=True)
        if dist.rank():
            # The first process's parameters count.
            nn.init.zeros_(trained.classifier.weight)
        step = train_step(trained, clip_norm=0.5, grad_cache=grad_cache)
        results = train(step, [_own_part(batch) for batch in batches()])
        found[name] = {
            "parameters": dict(trained.named_parameters()),
            "losses": [{key: float(value) for key, value in result.losses.items()} for result in results],
            "norms": [{key: float(value) for key, value in result.gradient_norms.items()} for result in results],
            "memory": step.state.state_dict()["memories"]["pnp"],
        }
    return found


def _own_part(batch: Batch) -> Batch:
    if dist.world_size() == 1:
        return batch
    # Cross-entropy is a mean of each process's own, so the parts are of one size.
    half = len(batch) // 2
    own = slice(half, None) if dist.rank() else slice(half)
    return Batch(batch.images[own], batch.labels[own], batch.rows[own])


@pytest.mark.dist
def test_on_two_processes_training_in_parts_is_that_of_one_process(tmp_path: Path) -> None:
    expected = trained_on_this_process()["plain"]
    for found in on_two_processes(trained_on_this_process, tmp_path):
        for name in ("plain", "cached"):
            for parameter, value in found[name]["parameters"].items():
                torch.testing.assert_close(value, expected["parameters"][parameter], rtol=1e-4, atol=1e-6)
            for kind in ("losses", "norms"):
                for ours, theirs in zip(found[name][kind], expected[kind], strict=True):
                    assert ours == pytest.approx(theirs, rel=1e-4)
            torch.testing.assert_close(found[name]["memory"]["vectors"], expected["memory"]["vectors"])
            assert torch.equal(found[name]["memory"]["labels"], expected["memory"]["labels"])
