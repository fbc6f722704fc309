"""Statistics of batch norm over several processes. Legend: N rows of a process's batch, C channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import small_network
from torch import nn
from two_processes import on_two_processes

from shelfmark.core import dist
from shelfmark.core.errors import UserError
from shelfmark.models import batch_norm as ours
from shelfmark.models.batch_norm import average_statistics, running_statistics, sync_batch_norm

NUM_STEPS, NUM_ROWS, NUM_CHANNELS = 3, 5, 4


def rows_of(step: int, rank: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(10 * step + rank)
    # The processes see other means, so a spread between them would show.
    return torch.randn(NUM_ROWS, NUM_CHANNELS, generator=generator) * (1 + rank) + 7 * rank


def trained() -> dict[str, Any]:
    """After NUM_STEPS steps with a mean after each: what one process's learning and frozen batch norm hold."""
    network = nn.Sequential(nn.BatchNorm1d(NUM_CHANNELS), nn.BatchNorm1d(NUM_CHANNELS))
    network[1].eval()
    network[1].running_var.fill_(0.1 * (1 + dist.rank()))
    for step in range(NUM_STEPS):
        network[0](rows_of(step, dist.rank()))
        average_statistics(network)
    return {"learning": network[0].state_dict(), "frozen": network[1].running_var}


@pytest.mark.dist
def test_statistics_are_those_of_all_processes_batches(tmp_path: Path) -> None:
    first, second = on_two_processes(trained, tmp_path)
    mean, variance = np.zeros(NUM_CHANNELS), np.ones(NUM_CHANNELS)
    for step in range(NUM_STEPS):
        batches = [rows_of(step, rank).double().numpy() for rank in (0, 1)]
        mean = 0.9 * mean + 0.1 * np.mean([batch.mean(axis=0) for batch in batches], axis=0)
        variance = 0.9 * variance + 0.1 * np.mean([batch.var(axis=0, ddof=1) for batch in batches], axis=0)
    np.testing.assert_allclose(first["learning"]["running_mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(first["learning"]["running_var"], variance, rtol=1e-5)
    assert first["learning"]["num_batches_tracked"] == NUM_STEPS
    for name, value in first["learning"].items():
        assert torch.equal(value, second["learning"][name]), name
    # What does not learn is not sent about.
    assert torch.equal(second["frozen"], torch.full((NUM_CHANNELS,), 0.2))


def test_equal_statistics_keep_their_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.BatchNorm1d(1000)
    network.running_mean.normal_()
    before = [one.clone() for one in running_statistics(network)]
    monkeypatch.setattr(dist, "world_size", lambda: 3)
    monkeypatch.setattr(dist, "sum_over_ranks", lambda value: value + value + value)
    average_statistics(network)
    assert all(torch.equal(one, was) for one, was in zip(running_statistics(network), before))


def test_one_process_averages_nothing() -> None:
    network = nn.BatchNorm1d(2)
    network.running_mean.fill_(float("nan"))
    average_statistics(network)
    assert network.running_mean.isnan().all()
    sync_batch_norm(network, torch.device("cpu"))
    assert type(network) is nn.BatchNorm1d


def test_synchronised_batch_norm_needs_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "world_size", lambda: 2)
    with pytest.raises(UserError, match=r"^model\.sync_bn=true needs GPUs"):
        sync_batch_norm(nn.BatchNorm1d(2), torch.device("cpu"))


@pytest.mark.parametrize("backbone", ["test_resnet", "test_efficientnet"])
def test_conversion_changes_no_name_and_no_evaluation(monkeypatch: pytest.MonkeyPatch, backbone: str) -> None:
    network = small_network(3, backbone=backbone, embedding_dim=6, neck="bn", freeze_bn=True)
    plain = network.state_dict()
    images = torch.randn(2, 3, 32, 32)
    logits = network.eval()(images).heads["classifier"]
    parameters = list(network.parameters())
    monkeypatch.setattr(dist, "world_size", lambda: 2)
    sync_batch_norm(network, torch.device("cuda"))
    assert [name for name, _ in network.state_dict().items()] == list(plain)
    assert all(one is other for one, other in zip(network.parameters(), parameters, strict=True))
    norms = [module for module in network.modules() if isinstance(module, ours._BatchNorm)]
    assert norms
    assert all(isinstance(module, nn.SyncBatchNorm) for module in norms)
    assert torch.equal(network.eval()(images).heads["classifier"], logits)
    # freeze_bn leaves the neck to learn, and nothing else.
    network.train()
    assert [module.training for module in norms] == [False] * (len(norms) - 1) + [True]
