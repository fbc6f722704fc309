"""Weights & Biases, offline: a folder that the user may send there with `wandb sync`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from shelfmark.engine.trackers.tracker import TrackedRun


class WandbOffline:
    """A run of W&B under `<folder>/wandb`. Nothing is sent: neither numbers nor code, nor reports of errors."""

    def __init__(self, run: TrackedRun) -> None:
        os.environ["WANDB_ERROR_REPORTING"] = "false"
        import wandb

        settings = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, disable_job_creation=True
        )
        self._run: Any = wandb.init(
            mode="offline",
            project="shelfmark",
            name=run.name,
            dir=str(run.folder),
            config=dict(run.options),
            settings=settings,
        )

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        self._run.finish()
