"""Whether bfloat16 pays is tried, once, and the checkpoint keeps the answer."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from shelfmark.core.devices import has_bf16_instructions
from shelfmark.engine import precision_trial
from shelfmark.engine.precision import Precision
from shelfmark.engine.precision_trial import SMALLEST_GAIN, bf16_gain, precision_of_training

CPU = torch.device("cpu")


class OfOneSize(nn.Module):
    """Takes images of one size alone, and writes down what it is given."""

    def __init__(self, px: int = 160) -> None:
        super().__init__()
        self.px = px
        self.layer = nn.Linear(3, 2)
        self.seen: list[tuple[tuple[int, ...], bool]] = []
        self.copies: list[OfOneSize] = [self]

    def __deepcopy__(self, memo: object) -> OfOneSize:
        other = OfOneSize(self.px)
        self.copies.append(other)
        return other

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append((tuple(images.shape), torch.is_autocast_enabled("cpu")))
        assert images.shape[-1] == self.px
        return self.layer(images.mean((2, 3)))


@pytest.mark.parametrize(("gain", "chosen"), [(SMALLEST_GAIN, "bf16"), (SMALLEST_GAIN - 0.01, "fp32"), (0.6, "fp32")])
def test_a_trial_decides_on_a_cpu_that_has_the_instructions(
    monkeypatch: pytest.MonkeyPatch, gain: float, chosen: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(precision_trial, "bf16_gain", lambda backbone, size_px: gain)
    assert precision_of_training("auto", nn.Identity(), 64, CPU).name == chosen


@pytest.mark.parametrize(("name", "has_them"), [("fp32", True), ("bf16", True), ("auto", False)])
def test_there_is_no_trial_where_there_is_nothing_to_choose(
    monkeypatch: pytest.MonkeyPatch, name: str, has_them: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has_them})
    monkeypatch.setattr(precision_trial, "bf16_gain", lambda backbone, size_px: pytest.fail("a trial"))
    assert precision_of_training(name, nn.Identity(), 64, CPU).name == ("fp32" if name == "auto" else name)


def test_the_gain_is_the_ratio_of_the_shortest_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"fp32": itertools.chain([9.0, 3.0], itertools.repeat(4.0)), "bf16": itertools.repeat(2.0)}
    clock = itertools.count(0, 0.1)
    monkeypatch.setattr(precision_trial, "_seconds", lambda backbone, images, name: next(seconds[name]))
    monkeypatch.setattr(precision_trial, "_SECONDS", 12.0)
    monkeypatch.setattr(precision_trial.time, "perf_counter", lambda: next(clock))
    assert math.isclose(bf16_gain(nn.Identity(), 8), 1.5)


@pytest.mark.parametrize(("px", "num_refused", "num_images"), [(128, 0, 4), (112, 1, 4), (160, 2, 1)])
def test_a_trial_uses_small_images_or_the_size_that_the_backbone_wants(
    px: int, num_refused: int, num_images: int
) -> None:
    backbone = OfOneSize(px)
    assert bf16_gain(backbone, 160) > 0
    seen = backbone.copies[1].seen
    small = [((4, 3, side, side), False) for side in (128, 112)]
    shape = (num_images, 3, px, px)
    assert seen[: num_refused + 2] == [*small[:num_refused], (shape, False), (shape, True)]
    assert not backbone.seen


def test_a_backbone_that_refuses_every_size_is_left_to_the_training_to_tell() -> None:
    assert bf16_gain(OfOneSize(96), 160) == 0


def test_a_trial_changes_neither_the_network_nor_the_random_state_nor_the_threads() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1))
    network[0].requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random, threads = torch.get_rng_state(), torch.get_num_threads()
    assert bf16_gain(network, 16) > 0
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.get_num_threads() == threads
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not network[0].weight.requires_grad
    assert network[1].weight.grad is None


@pytest.mark.parametrize("trained_in", ["bf16", "fp32"])
@pytest.mark.parametrize("has_them", [True, False])
def test_a_model_is_applied_in_the_precision_it_was_trained_in_where_the_cpu_has_it(
    monkeypatch: pytest.MonkeyPatch, trained_in: str, has_them: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_tile": has_them})
    assert has_bf16_instructions() == has_them
    expected = "bf16" if trained_in == "bf16" and has_them else "fp32"
    assert Precision.resolve("auto", CPU, trained_in).name == expected
