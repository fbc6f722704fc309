"""torch.compile in a training step: the same names, the same network for everything else, an error in time."""

from __future__ import annotations

import copy
import shutil
from typing import Any

import pytest
import torch
from steps import step_of
from torch import Tensor, nn

from shelfmark.core.contracts import Batch
from shelfmark.core.errors import UserError
from shelfmark.engine import compiled
from shelfmark.engine.compiled import require_compiler
from shelfmark.engine.options import EmaOptions
from shelfmark.engine.step import TrainStep
from shelfmark.engine.terms import LossTerm
from shelfmark.losses import CrossEntropy
from shelfmark.models.heads import LinearClassifier
from shelfmark.models.network import Network
from shelfmark.models.options import ModelOptions

NUM_IMAGES = 6
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="this machine has no C++ compiler")


@pytest.fixture(autouse=True)
def forgotten() -> None:
    torch._dynamo.reset()


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What is compiled from here on, by the number of its operations; traced, and run without machine code."""
    found: list[int] = []
    real = torch.compile

    def traced(graph: torch.fx.GraphModule, _: list[Tensor]) -> Any:
        found.append(len(graph.graph.nodes))
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda function, **options: real(function, backend=traced, **options))
    return found


def network() -> Network:
    torch.manual_seed(1)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4), nn.ReLU())
    return Network(backbone, nn.Identity(), LinearClassifier(4, 3), {}, ModelOptions())


def stepping(compiles: bool = True, **options: Any) -> TrainStep:
    trained = network()
    terms = [LossTerm("cross_entropy", "classifier", 1.0, CrossEntropy())]
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1, momentum=0.9)
    return step_of(trained, terms, optimizer, compiles=compiles, ema=EmaOptions(decay=0.5), **options)


def batch(seed: int, num_images: int = NUM_IMAGES) -> Batch:
    images = torch.randn(num_images, 3, 2, 2, generator=torch.Generator().manual_seed(seed))
    return Batch(images, torch.arange(num_images) % 3, torch.arange(num_images))


def train(step: TrainStep, seeds: range) -> TrainStep:
    for seed in seeds:
        step(batch(seed), learning_rate=0.1, step=seed)
    return step


def weights(step: TrainStep) -> dict[str, Tensor]:
    """Those that learn, and their average."""
    learning, averaged = step.state.network.state_dict(), step.state.weights_to_evaluate().state_dict()
    return {**learning, **{f"ema.{name}": value for name, value in averaged.items()}}


def assert_close(ours: TrainStep, theirs: TrainStep) -> None:
    expected = weights(theirs)
    assert weights(ours).keys() == expected.keys()
    for name, value in weights(ours).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6, msg=name)


def test_a_compiled_step_is_a_step_and_its_average_is_the_average(graphs: list[int]) -> None:
    ours, theirs = train(stepping(), range(4)), train(stepping(compiles=False), range(4))
    assert len(graphs) == 1
    assert_close(ours, theirs)
    assert not [name for name in ours.state.network.state_dict() if "_orig_mod" in name]
    assert not [name for name in ours.state.state_dict()["optimizer"]["parameters"] if "_orig_mod" in name]


def test_evaluation_is_not_compiled_whatever_the_size_of_its_batches(graphs: list[int]) -> None:
    step = train(stepping(), range(2))
    plain = copy.deepcopy(step.state.network).eval()
    for evaluated in (step.state.network, step.state.weights_to_evaluate()):
        evaluated.eval()
        for num_images in (6, 5, 4, 1):
            evaluated.embed(batch(0, num_images).images)
    images = batch(0, 5).images
    assert torch.equal(step.state.network.embed(images), plain.embed(images))
    step.state.network.train()
    train(step, range(2, 4))
    assert len(graphs) == 1


def test_checkpoints_of_either_go_on_with_the_other(graphs: list[int]) -> None:
    whole = train(stepping(compiles=False), range(6))
    for before, after in ((True, False), (False, True), (True, True)):
        first = train(stepping(compiles=before), range(3))
        second = stepping(compiles=after)
        second.state.network.load_state_dict(first.state.weights_to_evaluate().state_dict())
        second.state.load_state_dict(copy.deepcopy(first.state.state_dict()))
        assert_close(train(second, range(3, 6)), whole)


def test_a_part_of_a_batch_and_a_new_stage_are_compiled_once_each(graphs: list[int]) -> None:
    step = train(stepping(num_parts=2), range(3))
    assert len(graphs) == 1
    state = step.state
    state.network.freeze(["backbone.1"])
    state.begin_stage(torch.optim.SGD([one for one in state.network.parameters() if one.requires_grad], lr=0.1))
    train(step, range(3, 6))
    assert len(graphs) == 2


def test_a_backbone_that_cannot_be_compiled_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(graph: torch.fx.GraphModule, _: list[Tensor]) -> Any:
        raise RuntimeError("no such instruction")

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **options: real(function, backend=refuses, **options))
    with pytest.raises(UserError, match=r"train\.compile=true: Sequential cannot be compiled .*no such instruction"):
        train(stepping(), range(1))


def test_a_machine_without_a_compiler_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    # What this machine has compiled before is not compiled again.
    monkeypatch.setattr(compiled, "_plus_one", lambda value: value.sin() + 5)
    told = pytest.raises(UserError, match=r"does not work on this machine, on cpu: .*no-such.*apt install g\+\+")
    with torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}), told:
        require_compiler(torch.device("cpu"))


@needs_compiler
def test_code_for_this_machine_gives_the_numbers_of_plain_torch() -> None:
    require_compiler(torch.device("cpu"))
    assert_close(train(stepping(), range(3)), train(stepping(compiles=False), range(3)))
