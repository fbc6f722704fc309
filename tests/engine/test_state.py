"""The training state: what a step that is not sound leaves as it was, and what is restored by name."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from steps import FP32, step_of
from torch import Tensor, nn
from torch.nn.functional import normalize
from two_processes import on_two_processes

from shelfmark.core import dist
from shelfmark.core.contracts import Batch, Outputs
from shelfmark.engine.memory import CrossBatchMemory
from shelfmark.engine.options import EmaOptions
from shelfmark.engine.progress import Progress
from shelfmark.engine.state import TrainState
from shelfmark.engine.step import TrainStep
from shelfmark.engine.terms import LossTerm
from shelfmark.losses import CrossEntropy, SmoothAP
from shelfmark.optim import OptimOptions, build_optimizer, parameter_groups


class Small(nn.Module):
    """A linear map of batch-normalised pixels, with a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4))
        self.classifier = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Outputs:
        embedding = self.backbone(images)
        return Outputs(embedding, {"classifier": self.classifier(embedding), "rank": normalize(embedding)})


def small(name: str = "adamw", lr: float = 0.1, **groups: Any) -> TrainStep:
    torch.manual_seed(0)
    network = Small()
    terms = [
        LossTerm("cross_entropy", "classifier", 1.0, CrossEntropy()),
        LossTerm("smooth_ap", "rank", 1.0, SmoothAP(), consumes="vectors", memory=CrossBatchMemory(8)),
    ]
    options = OptimOptions(name=name, lr=lr, weight_decay=0.01, **groups)
    optimizer = build_optimizer(options, parameter_groups(network, options))
    return step_of(network, terms, optimizer, ema=EmaOptions(decay=0.9))


def batch(seed: int = 0, broken: bool = False) -> Batch:
    images = torch.randn(6, 3, 2, 2, generator=torch.Generator().manual_seed(seed))
    if broken:
        images[1, 0] = float("nan")
    return Batch(images, torch.tensor([0, 0, 1, 1, 2, 2]), torch.arange(6))


def everything(step: TrainStep) -> dict[str, Tensor]:
    state = step.state
    entries = state.state_dict()["optimizer"]["parameters"]
    optimizer = {
        f"{name}.{key}": torch.as_tensor(value).clone()
        for name, entry in entries.items()
        for key, value in entry.items()
    }
    memory = {f"memory.{key}": value for key, value in state.terms[1].memory.state_dict().items()}  # type: ignore[union-attr]
    weights = {name: value.clone() for name, value in state.network.state_dict().items()}
    average = {f"ema.{name}": value.clone() for name, value in state.weights_to_evaluate().state_dict().items()}
    return {**weights, **average, **optimizer, **memory}


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_step_without_a_finite_loss_leaves_weights_statistics_memory_and_optimizer_as_they_were() -> None:
    step = small()
    step(batch(0), learning_rate=0.1, step=0)
    before = everything(step)
    found = step(batch(1, broken=True), learning_rate=0.1, step=1)
    assert found.skipped == "the loss is not finite"
    assert same(everything(step), before)
    twin = small()
    twin(batch(0), learning_rate=0.1, step=0)
    for one in (step, twin):
        assert one(batch(2), learning_rate=0.1, step=2).skipped == ""
    assert same(everything(step), everything(twin)), "the skipped step left a trace"


def test_a_gradient_that_is_not_finite_is_skipped_though_its_loss_is() -> None:
    step = small()
    # The gradient of sqrt at 0 is infinite.
    step.state.network.classifier.register_forward_hook(lambda *given: given[2] + 0 * (given[2] * 0).sqrt())
    before = everything(step)
    assert step(batch(), learning_rate=0.1).skipped == "its gradient is not finite"
    assert same(everything(step), before)


def test_in_fp16_an_overflow_lowers_the_scale_and_counts_only_at_its_floor() -> None:
    step = small("sgd")
    step.state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120, growth_interval=100)
    weight = step.state.network.classifier.weight.clone()
    averaged = copy.deepcopy(step.state.weights_to_evaluate().state_dict())
    for _ in range(2):
        step.state.network.classifier.weight.register_hook(lambda gradient: gradient * 2.0**20)
    found = step(batch(), learning_rate=0.1)
    assert (found.skipped, step.state.scaler.get_scale()) == ("", 2.0**119)
    assert torch.equal(step.state.network.classifier.weight, weight), "the scaler made no step"
    assert same(step.state.weights_to_evaluate().state_dict(), averaged), "the average counted a step that was not made"
    step.state.scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    step.state.network.classifier.weight.register_hook(lambda gradient: gradient * float("inf"))
    assert step(batch(), learning_rate=0.1).skipped == "its gradient is not finite"


def test_an_update_that_breaks_the_weights_is_noticed_by_the_next_loss_and_nothing_else_changes() -> None:
    step = small("sgd")
    assert step(batch(), learning_rate=0.1).skipped == ""
    before, drawn = everything(step), torch.get_rng_state()
    assert step.is_sound(batch())
    assert same(everything(step), before)
    assert torch.equal(torch.get_rng_state(), drawn)
    # Finite weights, whose products are not.
    assert step(batch(), learning_rate=1e36).skipped == ""
    assert step.state.broken_tensors() == []
    assert not step.is_sound(batch())


def test_broken_weights_and_optimizer_values_are_named() -> None:
    step = small()
    step(batch(), learning_rate=0.1)
    with torch.no_grad():
        step.state.network.classifier.bias[1] = float("inf")
        step.state.weights_to_evaluate().backbone[2].running_var[0] = float("nan")
        step.state.optimizer.state[step.state.network.classifier.weight]["exp_avg"][0, 0] = float("nan")
    broken = step.state.broken_tensors()
    assert broken[:2] == ["classifier.bias", "ema.backbone.2.running_var"]
    assert [name.split(".")[-1] for name in broken[2:]] == ["exp_avg"]


@pytest.mark.parametrize("changed", [{}, {"decay_norm_and_bias": True}, {"non_backbone_lr_factor": 7.0}])
def test_an_optimizer_is_restored_by_name_whatever_groups_the_options_make(changed: dict[str, Any]) -> None:
    first = small()
    first(batch(), learning_rate=0.1)
    saved = first.state.state_dict()
    second = small(**changed)
    second.state.network.load_state_dict(first.state.weights_to_evaluate().state_dict())
    second.state.load_state_dict(saved)
    assert same(everything(second), everything(first))
    groups = {group["name"]: group for group in second.state.optimizer.param_groups}
    # Hyperparameters are those of the options, not those of the checkpoint.
    assert groups["head"]["lr_factor"] == changed.get("non_backbone_lr_factor", 1.0)
    assert ("head.no_decay" in groups) == ("decay_norm_and_bias" not in changed)


def test_a_state_of_another_optimizer_or_of_other_parameters_is_refused() -> None:
    saved = small().state.state_dict()
    with pytest.raises(ValueError, match="a state of AdamW, and the optimizer is now SGD"):
        small("sgd").state.load_state_dict(saved)
    del saved["optimizer"]["parameters"]["classifier.bias"]
    with pytest.raises(ValueError, match=r"1 were not trained then, such as classifier\.bias"):
        small().state.load_state_dict(saved)


def test_a_scale_of_fp16_begins_anew_where_the_checkpoint_has_none() -> None:
    saved = small().state.state_dict()
    second = small()
    second.state.scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    second.state.load_state_dict(saved)
    assert second.state.scaler.get_scale() == 512.0


def test_the_schedule_goes_by_epoch_where_epochs_get_another_length() -> None:
    progress = Progress(epoch=2, step_in_epoch=7, step=27, position=27, steps_per_epoch=10)
    assert not progress.fit_to(10)
    assert progress.fit_to(4)
    # 7 of 10 steps are 2.8 of 4: whole steps are kept, and the run's own count goes on.
    assert (progress.epoch, progress.step_in_epoch, progress.position, progress.step) == (2, 2, 10, 27)
    progress.add({"loss": torch.tensor(3.0)})
    assert progress.means() == {"loss": 3.0}


def _bad_on_one() -> dict[str, Any]:
    """A good step, one that is broken on rank 1 alone, and a good one again."""
    step = small("sgd")
    step(batch(dist.rank()), learning_rate=0.1, step=0)
    before = everything(step)
    skipped = step(batch(2, broken=dist.rank() == 1), learning_rate=0.1, step=1).skipped
    is_left = same(everything(step), before)
    step(batch(3 + dist.rank()), learning_rate=0.1, step=2)
    return {"skipped": skipped, "is_left": is_left, "after": everything(step)}


@pytest.mark.dist
def test_all_processes_skip_a_step_that_is_bad_on_one_and_hold_the_same_statistics(tmp_path: Path) -> None:
    first, second = on_two_processes(_bad_on_one, tmp_path)
    assert [one["skipped"] for one in (first, second)] == ["the loss is not finite"] * 2
    assert [one["is_left"] for one in (first, second)] == [True, True]
    assert same(first["after"], second["after"])


def test_what_a_state_holds_comes_back() -> None:
    first = small()
    for seed in range(3):
        first(batch(seed), learning_rate=0.1, step=seed)
        first.state.progress.add({"loss": torch.tensor(1.0)})
    saved = first.state.state_dict()
    second = small()
    second.state.network.load_state_dict(first.state.weights_to_evaluate().state_dict())
    # A state refers to what it is of.
    second.state.load_state_dict(copy.deepcopy(saved))
    assert isinstance(second.state, TrainState)
    assert second.state.progress == first.state.progress
    for one in (first, second):
        one(batch(9), learning_rate=0.1, step=3)
    assert same(everything(first), everything(second))
    assert second.state.precision == FP32
