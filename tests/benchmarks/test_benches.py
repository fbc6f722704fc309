"""The tables of `make bench-...`: that ours and the baseline compute the same, and when a target is met."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from shelfmark.calibration import Linear, TauNorm, tau_normalized
from shelfmark.discovery.clusterers import Components, write_clusterer
from shelfmark.discovery.lander import Lander, build_graph
from shelfmark.losses import PNP, SmoothAP

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import bench_discovery
import bench_longtail
import bench_losses
import bench_retrieval
import measuring
import naive_losses

BENCHMARKS = Path(measuring.__file__).parent
MB = 10**6


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures in this process, one call a round, with a small network."""
    for bench in (bench_discovery, bench_longtail, bench_losses, bench_retrieval):
        monkeypatch.setattr(bench, "in_own_process", lambda work, *arguments: work(*arguments))
    monkeypatch.setattr(measuring, "MIN_ROUND_S", 1e-9)
    monkeypatch.setattr(bench_discovery, "NUM_EPOCHS", 2)
    monkeypatch.setattr(bench_discovery, "HIDDEN", 8)
    monkeypatch.setattr(bench_retrieval, "NUM_WARM_UP_IMAGES", 20)


def test_a_target_is_a_bound_from_above_or_from_below() -> None:
    below = bench_losses.Target("seconds", 0.6, "under 0.6 s")
    assert (below.verdict(0.5), below.verdict(0.7)) == ("under 0.6 s: met", "under 0.6 s: **missed**")
    above = bench_losses.Target("speedup", 150, "150 times faster", at_least=True)
    assert (above.verdict(151), above.verdict(149)) == ("150 times faster: met", "150 times faster: **missed**")
    figures = [torch.tensor(1.0), torch.ones(2)]
    ours = bench_losses.Measured([0.001, 0.002, 0.004], MB, *figures)
    baseline = bench_losses.Measured([0.3, 0.4, 0.6], 100 * MB, *figures)
    case = bench_losses.Case("PNP", 32, PNP("D_q"), targets=[bench_losses.FASTER])
    row = bench_losses.compared_row(case, ours, baseline)
    assert (row.ours, row.baseline, row.ratio) == ("2 ms", "0.4 s", "200 times")
    assert row.target == "150 times faster: met"


@pytest.mark.parametrize(("variant", "agrees"), [("D_q", "met"), ("D_s", "**missed**")])
def test_a_loss_is_found_to_agree_with_its_baseline_or_to_differ(
    monkeypatch: pytest.MonkeyPatch, here: None, variant: str, agrees: str
) -> None:
    naive = partial(bench_losses.over_blocks, naive_losses.pnp)
    monkeypatch.setattr(bench_losses, "extra_bytes", lambda loss, *_: 200 * MB if loss is naive else 2 * MB)
    targets = [bench_losses.SMALL_SHARE, bench_losses.SAME_GRADIENT]
    row = bench_losses.loss_row(bench_losses.Case("PNP", 32, PNP(variant), naive, targets), bench_losses.CPU, repeats=1)
    assert row.memory == "2.0 MB / 200 MB (1.00%)"
    assert row.target == f"2% of the memory: met; gradient within 1e-4: {agrees}"


@pytest.mark.parametrize("loss", [SmoothAP(), PNP("D_q", temperature=0.05), PNP("O", include_self=True)])
def test_a_loss_by_a_named_implementation_is_that_loss(loss: SmoothAP | PNP) -> None:
    batch = bench_losses.batch(32, bench_losses.CPU)
    expected = bench_losses.value_and_gradient(loss, *batch)
    torch.testing.assert_close(
        bench_losses.value_and_gradient(bench_losses.ByImplementation(loss, "reference"), *batch), expected
    )


def test_the_plain_sweep_scores_as_ours_and_made_rows_stay_the_same(tmp_path: Path) -> None:
    bench_longtail.write_case(bench_longtail.Size(num_val=160, num_train=400, num_classes=12, dim=24), tmp_path)
    case = bench_longtail.Case.read(tmp_path)
    taus = bench_longtail.TAUS
    plain = [
        bench_longtail.mean_class_accuracy(Linear(tau_normalized(case.weight, tau)), case.val, case.val_labels, 12)
        for tau in taus
    ]
    ours = TauNorm(taus).fit(case.val, case.val_labels, case.weight, case.bias, case.counts)
    assert plain == pytest.approx([row["mean_class_accuracy"] for row in ours.table_[1:]])
    train, chosen = case.train(), np.array([7, 3, 399, 3])
    everything = train[:]
    np.testing.assert_array_equal(train[chosen], everything[chosen])
    np.testing.assert_array_equal(train[390:500], everything[390:])


def test_ours_and_the_peer_score_the_same_set_alike(here: None) -> None:
    small = bench_retrieval.Size("small", 120, 30)
    own, other = bench_retrieval.ours(small, "cpu"), bench_retrieval.peer(small, "cpu")
    assert own.scores == pytest.approx(other.scores, abs=1e-6)
    assert 0.05 < own.scores["recall@1"] < 0.999
    row = bench_retrieval.alone(small, "cpu", 1, lambda ours: ours.seconds < 1000, "under 1000 s")
    assert row.endswith("| under 1000 s: met |")


def test_the_plain_pass_is_the_same_network() -> None:
    features, _ = bench_discovery.embeddings(60, seed=0)
    graph = build_graph(features, k=5)
    graph.valid[7] = False
    graph.valid[3, 2:] = False
    known = graph.valid
    graph = replace(graph, neighbours=graph.neighbours.where(known, 0), similarities=graph.similarities.where(known, 0))
    model = Lander(bench_discovery.DIM, 16, seed=3)
    probabilities, density = model(torch.from_numpy(features), graph)
    plain, plain_density = bench_discovery.plain_forward(model, torch.from_numpy(features), graph)
    torch.testing.assert_close(plain, probabilities[:, :, 0], atol=1e-6, rtol=0)
    torch.testing.assert_close(plain_density, density, atol=1e-6, rtol=0)
    assert plain.std() > 1e-3


def test_every_clusterer_has_its_row_and_the_scores_are_those_of_the_found_clusters(here: None, tmp_path: Path) -> None:
    small = bench_discovery.Size("small", 300, 200, {"kmeans": "left out: a reason"})
    lines = [line for line in bench_discovery.table(small) if "|" in line]
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines}
    assert all(len(row) == 8 for row in cells.values())
    assert cells["kmeans"][-1] == "left out: a reason"
    for name in ("components", "dbscan", "hdbscan", "lander, tau=0.9", "lander, tau=0.5"):
        # A network of two epochs may find nothing yet.
        assert float(cells[name][4]) > 0 or name.startswith("lander")
        assert 1 <= int(cells[name][3]) <= 300, name
    bench_discovery.make_pool(small, tmp_path)
    write_clusterer(tmp_path / "clusterer", Components(threshold=0.0))
    one = bench_discovery.cluster_one(tmp_path, 1.5, {})
    counts = np.bincount(np.load(tmp_path / "pool_labels.npy"))
    precision = (counts * (counts - 1)).sum() / (300 * 299)
    assert one.num_clusters == 1
    assert one.pairwise_f == pytest.approx(2 * precision / (1 + precision))


PEAKS = """
import sys, numpy as np, torch, bench_longtail, measuring
torch.ones(75_000_000).sum()
print(measuring.peak_above(lambda: float(torch.ones(25_000_000).sum()), torch.device("cpu"))[0])
mapped = np.load(sys.argv[1], mmap_mode="c")
print(bench_longtail.anonymous_peak_above(lambda: float(mapped.sum()))[0])
# Work that is long enough to be sampled.
print(bench_longtail.anonymous_peak_above(lambda: [torch.ones(25_000_000).exp().sum() for _ in range(3)])[0])
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the kernel does not reset the peak here")
def test_a_peak_counts_what_is_freed_again_and_leaves_out_what_came_before_and_file_pages(tmp_path: Path) -> None:
    # In a process of its own: what other tests left behind may be freed meanwhile.
    np.save(tmp_path / "file.npy", np.ones(25_000_000, dtype=np.float32))
    command = [sys.executable, "-c", PEAKS, str(tmp_path / "file.npy")]
    found = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    of_tensor, of_file, of_work = map(float, found.stdout.split())
    assert of_tensor == pytest.approx(100 * MB, rel=0.05)
    assert of_file < 20 * MB
    assert 90 * MB < of_work < 320 * MB
