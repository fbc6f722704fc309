"""A step on mixed images, where a loss that does not count yet cannot take their labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from steps import step_of
from torch import Tensor, nn

from shelfmark.core.contracts import Batch, Outputs, Proxies
from shelfmark.data.mixing import Mixing
from shelfmark.engine.memory import CrossBatchMemory
from shelfmark.engine.precision import Precision
from shelfmark.engine.step import StepResult
from shelfmark.engine.terms import LossTerm
from shelfmark.losses import CrossEntropy, FocalLoss, SmoothAP

CPU = torch.device("cpu")


class _ThreeHeads(nn.Module):
    """Channel means as the embedding; a classifier, a metric head and a proxy head of two classes on it."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier, self.rank, self.proxies = (nn.Parameter(torch.eye(2, 3)) for _ in range(3))

    def forward(self, images: Tensor) -> Outputs:
        embedding = images.mean(dim=(2, 3))
        heads = {"classifier": embedding @ self.classifier.T, "rank": nn.functional.normalize(embedding @ self.rank.T)}
        return Outputs(embedding, {**heads, "proxies": Proxies(heads["rank"], self.proxies)})


def _first_step(network: nn.Module, mixup: float) -> tuple[StepResult, CrossBatchMemory]:
    memory = CrossBatchMemory(8, 0, CPU)
    terms = [
        LossTerm("cross_entropy", "classifier", 1.0, CrossEntropy()),
        LossTerm("focal", "classifier", 1.0, FocalLoss(2.0), first_step=5),
        LossTerm("smooth_ap", "rank", 1.0, SmoothAP(), memory=memory, consumes="vectors", first_step=5),
    ]
    mixing = Mixing(mixup, 0.0, 0.0, np.array([2, 2]), seed=0) if mixup else None
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    step = step_of(network, terms, optimizer, Precision("fp32", CPU), mixing=mixing)
    images = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    batch = Batch(images, torch.tensor([0, 1, 0, 1]), torch.arange(4))
    return step(batch, learning_rate=0.1, step=0, measure_gradients=False), memory


@pytest.mark.parametrize(
    ("mixup", "logged", "num_remembered"),
    [(0.2, {"cross_entropy", "focal"}, 0), (0.0, {"cross_entropy", "focal", "smooth_ap"}, 4)],
)
def test_what_does_not_count_and_takes_no_mixed_labels_is_neither_logged_nor_remembered(
    mixup: float, logged: set[str], num_remembered: int
) -> None:
    result, memory = _first_step(_ThreeHeads(), mixup)
    assert set(result.losses) == {*logged, "loss"}
    assert float(result.losses["loss"]) == pytest.approx(float(result.losses["cross_entropy"]))
    assert len(memory) == num_remembered


def test_the_heads_that_no_loss_reads_get_a_gradient_of_zeros() -> None:
    # DistributedDataParallel waits for the gradient of every parameter, and weight decay reaches what has one.
    network = _ThreeHeads()
    _first_step(network, mixup=0.2)
    for head in (network.rank, network.proxies):
        assert head.grad is not None
        assert not head.grad.any()
    assert network.classifier.grad is not None
    assert network.classifier.grad.any()
