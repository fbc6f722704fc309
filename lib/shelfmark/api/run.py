"""Training from a Python program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shelfmark.api.options import overrides_of
from shelfmark.config.files import find_config
from shelfmark.config.load import load
from shelfmark.engine.checkpoint import config_overrides, readable_checkpoint
from shelfmark.pipelines.train import train as train_by_recipe
from shelfmark.recipe import Recipe
from shelfmark.runtime.resume_plan import AUTO


@dataclass(frozen=True)
class Run:
    """A finished run. summary: what `summary.json` holds."""

    folder: Path
    summary: dict[str, Any]

    @property
    def checkpoint(self) -> Path:
        """The best model; that of the end where nothing was scored."""
        return self.folder / "best_model"


def train(
    config: str | Path | None = None, options: Mapping[str, Any] | None = None, resume: str | Path | None = None
) -> Run:
    """Trains as `shelfmark train` does, in this process.

    config: a YAML file, or the name of a shipped one, such as "grocery". options: dotted name -> value, over those of
    the file: `{"train.num_epochs": 3}`. resume: a checkpoint to go on with, whose options count where there is no
    config; or "auto" for the newest one of the run, if there is one.
    UserError: an option, a file or an annotation is wrong; nothing was written then.
    """
    file = None if config is None else find_config(Path(config))
    checkpoint = None if resume is None else Path(resume)
    goes_on = file is None and checkpoint not in (None, AUTO)
    base = config_overrides(readable_checkpoint(checkpoint)) if checkpoint and goes_on else []
    return Run(*train_by_recipe(load(Recipe, file, [*base, *overrides_of(options)]), checkpoint))
