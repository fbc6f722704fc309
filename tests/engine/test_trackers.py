"""Trackers: what they get, that an error of theirs ends no run, and the real packages where they are installed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

from shelfmark.core.errors import UserError
from shelfmark.engine.metrics_log import MetricsLog, read_metrics
from shelfmark.engine.trackers.mlflow_files import MlflowFiles, mlflow_name
from shelfmark.engine.trackers.tracker import PACKAGES, TrackedRun, require_packages
from shelfmark.engine.trackers.wandb_offline import WandbOffline

OPTIONS = {"name": "shop", "optim": {"lr": 0.1, "betas": [0.9, 0.999]}, "model": {"heads": {}}}


class Listed:
    def __init__(self, fails: str = "") -> None:
        self.fails, self.written, self.closed = fails, [], 0

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        if self.fails == "write":
            raise RuntimeError("the disk\nis gone")
        self.written.append((step, dict(numbers)))

    def close(self) -> None:
        self.closed += 1
        if self.fails == "close":
            raise OSError(28, "No space left on device")


def opened(tracker: Listed, times: list[int]) -> Callable[[], Listed]:
    def open_it() -> Listed:
        times.append(1)
        return tracker

    return open_it


def test_a_tracker_is_opened_with_the_first_numbers_and_gets_nothing_else(tmp_path: Path) -> None:
    tracker, times = Listed(), list[int]()
    log = MetricsLog(tmp_path, trackers={"listed": opened(tracker, times)})
    log.write("skipped", 1, 0, {"reason": "why", "image_ids": ["a"]})
    assert not times
    log.write("train", 2, 0, {"loss": 2.5, "done": True, "few": float("nan")})
    log.write("val", 2, 0, {"recall@1": 0.5})
    log.close()
    assert tracker.written == [(2, {"train/loss": 2.5}), (2, {"val/recall@1": 0.5})]
    assert (len(times), tracker.closed) == (1, 1)


@pytest.mark.parametrize("fails", ["open", "write", "close"])
def test_a_tracker_that_fails_is_left_out_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fails: str
) -> None:
    broken, sound = Listed(fails), Listed()

    def open_broken() -> Listed:
        if fails == "open":
            raise RuntimeError("the disk\nis gone")
        return broken

    log = MetricsLog(tmp_path, trackers={"broken": open_broken, "sound": lambda: sound})
    with caplog.at_level(logging.WARNING):
        for step in (1, 2):
            log.write("train", step, 0, {"loss": 1.0})
        log.close()
    assert [step for step, _ in sound.written] == [1, 2]
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 2
    [told] = [one for one in caplog.messages if "broken" in one]
    assert ("the disk is gone" in told) or ("No space left" in told and fails == "close")


def test_a_package_that_is_missing_is_told_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"output\.trackers names mlflow.*the extra `mlflow` brings it"):
        require_packages(["mlflow"])
    require_packages([])


def test_a_folder_that_a_tracker_left_is_not_taken_for_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "left_behind").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(PACKAGES, "left_behind", "left-behind")
    with pytest.raises(UserError, match="the package left-behind is not installed"):
        require_packages(["left_behind"])


def test_options_lie_flat_under_dotted_names(tmp_path: Path) -> None:
    assert TrackedRun(tmp_path, OPTIONS).flat_options() == {
        "name": "shop",
        "optim.lr": 0.1,
        "optim.betas": [0.9, 0.999],
        "model.heads": {},
    }
    assert mlflow_name("val/recall@1") == "val/recall_at_1"
    assert mlflow_name("val/tpr@fpr=1e-3 é!") == "val/tpr_at_fpr_1e-3 é_"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrackedRun:
    (tmp_path / "shop").mkdir()
    monkeypatch.chdir(tmp_path)
    # Nothing may be sent: an address that nobody answers makes an attempt fail.
    for name in ("WANDB_BASE_URL", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("WANDB_ERROR_REPORTING", "MLFLOW_ALLOW_FILE_STORE", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "unset")
    return TrackedRun(tmp_path / "shop", OPTIONS)


def skip_without(name: str) -> None:
    if find_spec(name) is None:
        pytest.skip(f"{PACKAGES[name]} is not installed; the extra `{name}` brings it")


def test_mlflow_has_the_numbers_and_options_and_a_resumed_run_goes_on(run: TrackedRun) -> None:
    skip_without("mlflow")
    tracker = MlflowFiles(run)
    tracker.write(3, {"train/loss": 2.5, "val/recall@1": 0.5})
    tracker.close()
    again = MlflowFiles(run)
    again.write(4, {"train/loss": 2.0})
    again.close()
    run.folder.with_name("other").mkdir()
    other = MlflowFiles(TrackedRun(run.folder.with_name("other"), OPTIONS))
    other.write(1, {"train/loss": 9.0})
    other.close()
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(run.folder.parent / "mlruns").as_uri())
    [experiment] = [one for one in client.search_experiments() if one.name == "shelfmark"]
    runs = {one.info.run_name: one for one in client.search_runs([experiment.experiment_id])}
    assert runs.keys() == {"shop", "other"}
    assert runs["shop"].data.params["optim.lr"] == "0.1"
    assert runs["shop"].info.status == "FINISHED"
    losses = client.get_metric_history(runs["shop"].info.run_id, "train/loss")
    assert [(one.step, one.value) for one in losses] == [(3, 2.5), (4, 2.0)]
    assert runs["shop"].data.metrics["val/recall_at_1"] == 0.5
    # Another run in the folder of one that was removed, and one whose run of MLflow was, begin their own.
    (run.folder / "mlflow_run_id.txt").unlink()
    MlflowFiles(run).close()
    assert len(client.search_runs([experiment.experiment_id])) == 3
    client.delete_run((run.folder / "mlflow_run_id.txt").read_text().strip())
    MlflowFiles(run).close()
    assert len(client.search_runs([experiment.experiment_id])) == 3


def test_wandb_writes_into_the_run_folder_offline(run: TrackedRun) -> None:
    skip_without("wandb")
    tracker = WandbOffline(run)
    tracker.write(3, {"train/loss": 2.5})
    tracker.write(3, {"val/recall@1": 0.5})
    tracker.close()
    [folder] = run.folder.glob("wandb/offline-run-*")
    [file] = folder.glob("*.wandb")
    # Its own process writes the file.
    wanted, until = (b"train/loss", b"val/recall@1", b"optim"), time.monotonic() + 20
    while not all(one in file.read_bytes() for one in wanted):
        assert time.monotonic() < until, file.read_bytes()
        time.sleep(0.1)
    # No code, and nothing beside the run's folder.
    assert not list(folder.rglob("*.py"))
    assert [path.name for path in run.folder.parent.iterdir()] == ["shop"]
