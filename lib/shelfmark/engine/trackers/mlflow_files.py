"""MLflow: a store of files beside the runs' folders."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import Any

from shelfmark.engine.trackers.tracker import TrackedRun

STORE, EXPERIMENT = "mlruns", "shelfmark"
_FOREIGN = re.compile(r"[^\w\-. :/]")
_FOLDER = "shelfmark.folder"
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

        self._metric = Metric
        self._client: Any = MlflowClient(tracking_uri=(run.folder.parent.resolve() / STORE).as_uri())
        found = self._client.get_experiment_by_name(EXPERIMENT)
        experiment = self._client.create_experiment(EXPERIMENT) if found is None else found.experiment_id
        # Not by MLflow's search, whose language has no escapes.
        earlier = [
            one for one in self._client.search_runs([experiment]) if one.data.tags.get(_FOLDER) == run.folder.name
        ]
        if earlier:
            self._id = earlier[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        self._id = self._client.create_run(experiment, run_name=run.name, tags={_FOLDER: run.folder.name}).info.run_id
        params = [Param(name, str(value)[:_MOST_CHARS]) for name, value in run.flat_options().items()]
        for start in range(0, len(params), _MOST_AT_ONCE):
            self._client.log_batch(self._id, params=params[start : start + _MOST_AT_ONCE])

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        now_ms = int(1000 * time.time())
        metrics = [self._metric(mlflow_name(name), value, now_ms, step) for name, value in numbers.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self) -> None:
        self._client.set_terminated(self._id)


def mlflow_name(name: str) -> str:
    """A name that MLflow takes: `recall@1` is `recall_at_1`."""
    return _FOREIGN.sub("_", name.replace("@", "_at_").replace("=", "_"))
