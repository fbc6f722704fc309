"""The table of `make bench-retrieval`: what it measures, and when it says that a target is met."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import bench_retrieval
from bench_retrieval import MB, Measured, Size

SMALL = Size("small", 120, 30)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures in this process, on few images."""
    monkeypatch.setattr(bench_retrieval, "in_own_process", lambda work, *arguments: work(*arguments))
    monkeypatch.setattr(bench_retrieval, "NUM_WARM_UP_IMAGES", 20)
    monkeypatch.setattr("measuring.MIN_ROUND_S", 1e-9)


def test_ours_and_the_peer_score_the_same_set_alike(here: None) -> None:
    own, other = bench_retrieval.ours(SMALL, "cpu"), bench_retrieval.peer(SMALL, "cpu")
    assert own.scores == pytest.approx(other.scores, abs=1e-6)
    assert 0.05 < own.scores["recall@1"] < 0.999
    assert own.seconds > 0


def test_the_row_tells_both_figures_and_the_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = dict.fromkeys(bench_retrieval.PEER_SCORES, 0.5)
    found = {"ours": Measured(2.0, 100 * MB, scores), "peer": Measured(4.0, 400 * MB, scores | {"map@r": 0.51})}
    monkeypatch.setattr(bench_retrieval, "in_own_process", lambda work, size, device: found[work.__name__])
    assert bench_retrieval.beside_the_peer(SMALL, rounds=3) == (
        "| small: N=120, C=30 | 2.0 s | 4.0 s | 0.50 | 100 MB / 400 MB (0.25) | 1.0e-02 "
        "| 0.7 of the time: met; a fifth of the memory: **missed** |"
    )
    row = bench_retrieval.alone(SMALL, "cpu", 1, lambda ours: ours.seconds < 3, "under 3 s")
    assert row.endswith("| under 3 s: met |")


def test_every_image_of_the_made_up_set_has_a_positive() -> None:
    features, labels = bench_retrieval.test_set(SMALL, torch.device("cpu"))
    assert features.shape == (120, bench_retrieval.DIM)
    assert labels.bincount(minlength=30).min() >= 2


def test_a_row_without_its_device_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_retrieval, "is_missing", lambda device: True)
    row = bench_retrieval.alone(SMALL, "cuda", 1, lambda ours: True, "under 3 s")
    assert "needs a GPU" in row
    assert row.endswith("under 3 s: not measured |")
