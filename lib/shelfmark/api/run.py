"""Training from a Python program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shelfmark.api.options import overrides_of
from shelfmark.config.load import load
from shelfmark.pipelines.train import train as train_by_recipe
from shelfmark.recipe import Recipe


@dataclass(frozen=True)
class Run:
    """A finished run. summary: what `summary.json` holds."""

    folder: Path
    summary: dict[str, Any]

    @property
    def checkpoint(self) -> Path:
        """The best model; the last one of a run without validation."""
        best = self.folder / "best_model"
        return best if best.exists() else self.folder / "last"


def train(
    config: str | Path | None = None, options: Mapping[str, Any] | None = None, resume: str | Path | None = None
) -> Run:
    """Trains as `shelfmark train` does, in this process.

    config: a YAML file. options: dotted name -> value, over those of the file: `{"train.num_epochs": 3}`.
    resume: a checkpoint to go on with, or "auto" for the newest one of the run, if there is one.
    UserError: an option, a file or an annotation is wrong; nothing was written then.
    """
    loaded = load(Recipe, None if config is None else Path(config), overrides_of(options))
    return Run(*train_by_recipe(loaded, None if resume is None else Path(resume)))
