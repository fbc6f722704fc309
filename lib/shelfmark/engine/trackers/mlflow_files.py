"""MLflow: a store of files beside the runs' folders."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shelfmark.core.files import write_text
from shelfmark.engine.trackers.tracker import TrackedRun

STORE, EXPERIMENT = "mlruns", "shelfmark"
_FOREIGN = re.compile(r"[^\w\-. :/]")
RUN_ID = "mlflow_run_id.txt"
"""In the folder of a run: which run of MLflow has its numbers."""
_MOST_AT_ONCE = 100
_MOST_CHARS = 500


class MlflowFiles:
    """A run of MLflow in `<log_root>/mlruns`, shared by the runs of a log_root. A resumed run goes on with its own."""

    def __init__(self, run: TrackedRun) -> None:
        # MLflow refuses a store of files otherwise, and tells its makers of each use.
        os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self._metric, self._param = Metric, Param
        self._client: Any = MlflowClient(tracking_uri=(run.folder.parent.resolve() / STORE).as_uri())
        kept = run.folder / RUN_ID
        # Not by the folder's name: a run that was removed leaves its numbers here, and another takes its name.
        self._id = self._resumed(kept) or self._begun(run)
        write_text(kept, f"{self._id}\n")

    def _resumed(self, kept: Path) -> str | None:
        """The run that the folder names, open again; None where it names none, or one that is gone."""
        from mlflow.exceptions import MlflowException

        if not kept.is_file():
            return None
        run_id = kept.read_text(encoding="utf-8").strip()
        try:
            self._client.update_run(run_id, status="RUNNING")
        except MlflowException:
            return None
        return run_id

    def _begun(self, run: TrackedRun) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        experiment = self._client.create_experiment(EXPERIMENT) if found is None else found.experiment_id
        run_id: str = self._client.create_run(experiment, run_name=run.name).info.run_id
        params = [self._param(name, str(value)[:_MOST_CHARS]) for name, value in run.flat_options().items()]
        for start in range(0, len(params), _MOST_AT_ONCE):
            self._client.log_batch(run_id, params=params[start : start + _MOST_AT_ONCE])
        return run_id

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        now_ms = int(1000 * time.time())
        metrics = [self._metric(mlflow_name(name), value, now_ms, step) for name, value in numbers.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self) -> None:
        self._client.set_terminated(self._id)


def mlflow_name(name: str) -> str:
    """A name that MLflow takes: `recall@1` is `recall_at_1`."""
    return _FOREIGN.sub("_", name.replace("@", "_at_").replace("=", "_"))
