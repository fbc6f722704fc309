from __future__ import annotations

import pytest
import torch
from torch import nn

from shelfmark.engine.live_bytes import peak_bytes

CPU = torch.device("cpu")


def test_only_what_lives_at_once_counts() -> None:
    def one_after_the_other() -> None:
        for _ in range(5):
            torch.zeros(1000)

    def together() -> None:
        kept = [torch.zeros(1000) for _ in range(5)]
        kept[0].view(10, 100).add_(1)

    assert peak_bytes(one_after_the_other, CPU) == 4000
    assert peak_bytes(together, CPU) == 5 * 4000


def test_what_was_there_before_does_not_count_and_what_a_function_returns_does() -> None:
    before = torch.zeros(1000)
    assert peak_bytes(lambda: before.add_(1), CPU) == 0
    assert peak_bytes(lambda: before + 1, CPU) == 4000


@pytest.mark.parametrize("depth", [4, 8])
def test_a_backward_pass_holds_what_the_layers_kept(depth: int) -> None:
    # Each sine keeps its input, 64 x 250 numbers; the first one's was there before.
    images = torch.zeros(64, 250, requires_grad=True)

    def work() -> None:
        values = images
        for _ in range(depth):
            values = values.sin()
        values.sum().backward()

    size = 64 * 250 * 4
    found = peak_bytes(work, CPU)
    assert depth * size <= found <= (depth + 3) * size


def test_twice_the_images_take_twice_the_activations() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten())

    def peak(number: int) -> int:
        return peak_bytes(lambda: network(torch.zeros(number, 3, 16, 16)), CPU)

    assert peak(8) == pytest.approx(2 * peak(4), rel=0.02)
