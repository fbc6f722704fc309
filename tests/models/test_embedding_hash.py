"""What an embedding is known by: its own tensors, and nothing behind them."""

from __future__ import annotations

import pytest
import torch
from small_networks import METRIC_8, small_network

from shelfmark.models.embedding_hash import embedding_hash, state_hash

OPTIONS = {"embedding_dim": 8, "neck": "bn", "heads": {"metric": METRIC_8}}


def test_classifier_and_heads_do_not_count() -> None:
    one, other = small_network(4, **OPTIONS), small_network(9, embedding_dim=8, neck="bn")
    assert embedding_hash(one.state_dict()) == embedding_hash(other.state_dict())


@pytest.mark.parametrize("name", ["backbone.conv1.0.weight", "embedding.layer.bias", "embedding.neck.running_mean"])
def test_one_number_of_the_embedding_changes_it(name: str) -> None:
    state = small_network(4, **OPTIONS).state_dict()
    before = embedding_hash(state)
    assert embedding_hash(dict(reversed(state.items()))) == before
    state[name].view(-1)[0] += 1
    assert embedding_hash(state) != before


def test_the_hash_of_weights_sees_a_statistic_too() -> None:
    layer = torch.nn.BatchNorm1d(2)
    before = state_hash(layer.state_dict())
    assert state_hash(layer.state_dict()) == before
    layer.running_mean[1] += 1e-7
    assert state_hash(layer.state_dict()) != before


def test_shape_and_type_count_as_the_bytes_do() -> None:
    states = [
        {"backbone.w": torch.zeros(size, dtype=dtype)}
        for size, dtype in (
            ((2, 3), torch.float32),
            ((3, 2), torch.float32),
            ((3, 4), torch.bfloat16),
            ((), torch.int64),
        )
    ]
    assert len({embedding_hash(state) for state in states}) == 4
