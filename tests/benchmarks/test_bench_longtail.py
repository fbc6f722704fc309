"""The table of `make bench-longtail`: what it measures, and when it says that a target is met."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from shelfmark.calibration import Linear, TauNorm, tau_normalized

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import bench_longtail
from bench_longtail import GB, ONE_TAU, SWEEP, TAUS, Case, Measured, Row, Size

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TINY = Size(num_val=160, num_train=400, num_classes=12, dim=24)
ON_LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel tells memory otherwise here")


@pytest.fixture
def case(tmp_path: Path) -> Case:
    bench_longtail.write_case(TINY, tmp_path)
    return Case.read(tmp_path)


def test_the_case_has_the_stated_size_and_is_the_same_again(case: Case, tmp_path: Path) -> None:
    assert case.val.shape == (160, 24)
    assert isinstance(case.val, np.memmap)
    assert case.weight.shape == (12, 24)
    assert int(case.counts.sum()) == len(case.train()) == 400
    assert int(case.counts.min()) > 0
    assert case.counts.tolist() == sorted(case.counts.tolist(), reverse=True)
    bench_longtail.write_case(TINY, tmp_path)
    again = Case.read(tmp_path)
    assert np.array_equal(again.val, case.val)
    assert torch.equal(again.train().labels, case.train().labels)


def test_the_classifier_is_neither_always_right_nor_hopeless(tmp_path: Path) -> None:
    bench_longtail.write_case(Size(num_val=1000, num_train=3000, num_classes=1000, dim=32), tmp_path)
    case = Case.read(tmp_path)
    right = (torch.tensor(case.val) @ case.weight.T + case.bias).argmax(1) == case.val_labels
    assert 0.3 < float(right.double().mean()) < 0.98


def test_full_scale_is_the_size_of_aliproducts() -> None:
    assert Size.scaled(1.0) == Size(num_val=148_000, num_train=2_500_000, num_classes=50_030, dim=2048)
    assert Size.scaled(0.1).num_classes == 5003


def test_made_rows_are_the_same_by_a_slice_and_by_their_numbers(case: Case) -> None:
    train = case.train()
    assert train.shape == (400, 24)
    chosen = np.array([7, 3, 399, 3])
    everything = train[:]
    assert train.drawn_at == []
    np.testing.assert_array_equal(train[chosen], everything[chosen])
    assert len(train.drawn_at) == 1
    np.testing.assert_array_equal(train[390:500], everything[390:])
    np.testing.assert_array_equal(train.first(5)[:], everything[:5])
    noise = everything - case.directions[train.labels.numpy()]
    assert np.abs(noise).max() > 0.1


def test_the_plain_sweep_scores_as_ours(case: Case) -> None:
    plain = [
        bench_longtail.mean_class_accuracy(Linear(tau_normalized(case.weight, tau)), case.val, case.val_labels, 12)
        for tau in TAUS
    ]
    ours = TauNorm(TAUS).fit(case.val, case.val_labels, case.weight, case.bias, case.counts)
    assert plain == pytest.approx([row["mean_class_accuracy"] for row in ours.table_[1:]])


def test_a_row_tells_time_memory_and_whether_the_target_is_met() -> None:
    assert Row.of(Measured("x", 0.5, 3 * GB, most=4 * GB)).markdown() == "| x | 0.5 s | 3.00 GB | under 4 GB: met |"
    assert Row.of(Measured("x", 1234.4, 4 * GB, most=4 * GB)).target == "under 4 GB: **missed**"
    assert Row.of(Measured("x", 0.0123)) == Row("x", "12.3 ms")


@pytest.mark.parametrize(("seconds", "verdict"), [(199.0, "met"), (201.0, "**missed**")])
def test_the_sweep_is_held_against_a_pass_and_the_plain_ways(seconds: float, verdict: str) -> None:
    found = {SWEEP: Measured(SWEEP, seconds), ONE_TAU: Measured(ONE_TAU, 10.0)}
    one_pass, anew, stored = bench_longtail.sweep_rows(TINY, found, seconds_per_image=0.01)
    assert one_pass.time == "200 s"
    assert one_pass.target == f"{SWEEP} in less time: {verdict}"
    assert anew.time == f"{31 * 160 * 0.01:.3g} s, {31 * 160 * 0.01 / seconds:.1f} times ours"
    assert stored.time == f"310 s, {310 / seconds:.1f} times ours"


PEAKS = """
import sys, numpy as np, torch, bench_longtail
mapped = np.load(sys.argv[1], mmap_mode="c")
torch.ones(1000).exp().sum()
of_file, total = bench_longtail.anonymous_peak_above(lambda: float(mapped.sum()))
# Work that is long enough to be sampled.
of_work, _ = bench_longtail.anonymous_peak_above(lambda: [torch.ones(25_000_000).exp().sum() for _ in range(3)])
print(of_file, total, of_work)
"""


@ON_LINUX
def test_the_peak_counts_what_is_freed_again_and_leaves_file_pages_out(tmp_path: Path) -> None:
    # In a process of its own: what other tests left behind may be freed meanwhile.
    np.save(tmp_path / "file.npy", np.ones(25_000_000, dtype=np.float32))
    command = [sys.executable, "-c", PEAKS, str(tmp_path / "file.npy")]
    found = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    of_file, total, of_work = map(float, found.stdout.split())
    assert total == 25_000_000
    assert of_file < 20_000_000
    assert 90_000_000 < of_work < 320_000_000


@ON_LINUX
def test_the_page_has_a_row_for_every_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_longtail, "BATCH_SIZE", 32)
    monkeypatch.setattr(bench_longtail, "NUM_STEPS", 6)
    monkeypatch.setattr(
        bench_longtail,
        "in_a_process_of_its_own",
        lambda name, folder: bench_longtail.measured_here(name, folder, torch.get_num_threads()),
    )
    lines = list(bench_longtail.page(TINY, lambda: 0.001))
    assert "12 classes, 400 training and 160 val rows of 24" in lines[3]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")][2:]
    names = [what for what, *_ in rows]
    for method in ("tau-norm", "logit adjustment", "temperature", "nearest class mean"):
        targets = [target for what, _, _, target in rows if what.startswith(method)]
        assert targets
        assert set(targets) == {"under 4 GB: met"}, method
    assert sum(name.startswith("cRT") for name in names) == sum(name.startswith("LWS") for name in names) == 2
    assert "cRT: preparation and 6 steps" in names
    assert names[-3].startswith("ResNet-50 over 20,000 images")
    assert len({len(row) for row in rows}) == 1
