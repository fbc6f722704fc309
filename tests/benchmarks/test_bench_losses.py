"""The table of `make bench-losses`: what it measures, and when it says that a target is met."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from shelfmark.core.errors import UserError
from shelfmark.losses import PNP, SmoothAP

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import bench_losses
import measuring
import naive_losses
from bench_losses import CPU, MB, Case, Target

BENCHMARKS = Path(bench_losses.__file__).parent
NAIVE = partial(bench_losses.over_blocks, naive_losses.pnp)


@pytest.fixture
def quick(monkeypatch):
    """One call a round, and ours takes a hundredth of the baseline's memory."""
    monkeypatch.setattr(measuring, "MIN_ROUND_S", 1e-9)
    monkeypatch.setattr(bench_losses, "extra_bytes", lambda loss, *_: 200 * MB if loss is NAIVE else 2 * MB)


def test_a_target_is_a_bound_from_above_or_from_below():
    below = Target("seconds", 0.6, "under 0.6 s")
    assert (below.verdict(0.5), below.verdict(0.7)) == ("under 0.6 s: met", "under 0.6 s: **missed**")
    above = Target("speedup", 150, "150 times faster", at_least=True)
    assert (above.verdict(151), above.verdict(149)) == ("150 times faster: met", "150 times faster: **missed**")


def test_a_row_tells_both_memories_the_agreement_and_the_verdicts(quick):
    targets = [bench_losses.SMALL_SHARE, bench_losses.SAME_GRADIENT]
    row = bench_losses.loss_row(Case("PNP", 32, PNP("D_q"), NAIVE, targets), CPU, repeats=1)
    assert row.case == "PNP, B=32"
    assert row.memory == "2.0 MB / 200 MB (1.00%)"
    assert row.target == "2% of the memory: met; gradient within 1e-4: met"
    value, gradient = row.difference.removesuffix(")").split(" (gradient ")
    assert float(value) < 1e-5
    assert float(gradient) < 1e-5


def test_another_loss_is_found_to_differ(quick):
    row = bench_losses.loss_row(Case("PNP", 32, PNP("D_s"), NAIVE, [bench_losses.SAME_GRADIENT]), CPU, repeats=1)
    assert float(row.difference.split()[0]) > 0.01
    assert row.target == "gradient within 1e-4: **missed**"


@pytest.mark.parametrize("loss", [SmoothAP(), PNP("D_q", temperature=0.05), PNP("O", include_self=True)])
def test_a_loss_by_a_named_implementation_is_that_loss(loss):
    embedding, labels = bench_losses.batch(32, CPU)
    expected, expected_gradient = bench_losses.value_and_gradient(loss, embedding, labels)
    by_implementation = bench_losses.ByImplementation(loss, "reference")
    value, gradient = bench_losses.value_and_gradient(by_implementation, embedding, labels)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, expected_gradient)


def test_a_loss_without_baseline_is_told_alone(quick):
    targets = [bench_losses.bytes_below(100 * MB), bench_losses.seconds_below(1e-6)]
    row = bench_losses.loss_row(Case("PNP", 32, PNP("D_q"), targets=targets), CPU, repeats=1)
    assert (row.baseline, row.ratio, row.memory) == ("", "", "2.0 MB")
    assert row.target == "under 100 MB: met; under 0.001 ms: **missed**"


def test_the_ratio_is_how_many_times_the_baselines_seconds_are_ours():
    figures = [torch.tensor(1.0), torch.ones(2)]
    ours = bench_losses.Measured([0.001, 0.002, 0.004], MB, *figures)
    baseline = bench_losses.Measured([0.3, 0.4, 0.6], 100 * MB, *figures)
    row = bench_losses.compared_row(Case("PNP", 32, PNP("D_q"), targets=[bench_losses.FASTER]), ours, baseline)
    assert (row.ours, row.baseline, row.ratio) == ("2 ms", "0.4 s", "200 times")
    assert row.target == "150 times faster: met"


@pytest.mark.parametrize("error", [ModuleNotFoundError("No module named 'peer'"), UserError("needs a GPU")])
def test_what_is_missing_is_said_and_not_measured(quick, error):
    def wants_it(embedding, labels):
        raise error

    row = bench_losses.loss_row(Case("PNP", 32, PNP("D_q"), wants_it, [bench_losses.FASTER]), CPU, repeats=1)
    assert row.markdown() == f"| PNP, B=32 | not measured: {error} |  |  |  |  | 150 times faster |"


def test_the_order_turns_about_after_each_round(monkeypatch):
    monkeypatch.setattr(measuring, "MIN_ROUND_S", 1e-9)
    order: list[str] = []
    works = [partial(order.append, name) for name in "ab"]
    seconds = measuring.interleaved_seconds(works, CPU, rounds=3)
    assert "".join(order) == "abbaab"
    assert [len(of_one_work) for of_one_work in seconds] == [3, 3]


PEAK = """
import torch, measuring
torch.ones(75_000_000).sum()
peak, result = measuring.peak_above(lambda: float(torch.ones(25_000_000).sum()), torch.device("cpu"))
print(peak, result)
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the kernel does not reset the peak here")
def test_the_peak_counts_what_is_freed_again_and_forgets_what_came_before():
    # In a process of its own, as `peak_above` asks: what the garbage collector frees of other tests hides a peak.
    found = subprocess.run([sys.executable, "-c", PEAK], cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    peak, result = map(float, found.stdout.split())
    assert result == 25_000_000
    assert peak == pytest.approx(100 * MB, rel=0.05)
