"""What a tracker is, and the names of all trackers. Imports no tracker's package."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from shelfmark.core.errors import UserError

PACKAGES = {"wandb": "wandb", "mlflow": "mlflow-skinny"}
"""Each tracker, which is also the module that it imports and the extra that installs it, and its package."""


class Tracker(Protocol):
    """Takes the numbers of a run. An error of it ends the tracking, never the run."""

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """numbers: by `<kind>/<name>`, such as `val/top1`. Steps never fall."""

    def close(self) -> None:
        """Writes what is left, and lets go of files and processes."""


@dataclass(frozen=True)
class TrackedRun:
    """folder: of the run. options: its recipe, as JSON has it."""

    folder: Path
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.folder.name

    def flat_options(self) -> dict[str, Any]:
        """The options by dotted name, such as `optim.lr`; lists whole."""
        return dict(_flat("", self.options))


def require_packages(names: Sequence[str]) -> None:
    """Raises a UserError about the first tracker whose package is not installed."""
    for name in names:
        found = importlib.util.find_spec(name)
        # A folder of that name, such as the one that W&B leaves where it ran, is found as a package without a file.
        if found is None or found.origin is None:
            raise UserError(
                f"output.trackers names {name}, and the package {PACKAGES[name]} is not installed. Install it (the"
                f" extra `{name}` brings it), or take {name} out of output.trackers."
            )


def _flat(prefix: str, value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, item in value.items():
        key = f"{prefix}{name}"
        found += _flat(f"{key}.", item) if isinstance(item, Mapping) and item else [(key, item)]
    return found
