"""The files that a run left, as far as they are there. Legend: C classes."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from shelfmark.core.embeddings import MANIFEST
from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json
from shelfmark.core.folders import folder_to_read
from shelfmark.engine.checkpoint import Checkpoint, load_checkpoint
from shelfmark.engine.checkpointer import BEST, LAST
from shelfmark.engine.metrics_log import read_metrics
from shelfmark.runtime.model_hashes import CHECKPOINT
from shelfmark.runtime.stored_features import STORED

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class StoredRun:
    """summary, environments, records: empty where the file is not there. config: the text of config.yaml."""

    folder: Path
    checkpoint: Checkpoint
    summary: Mapping[str, Any]
    records: tuple[Mapping[str, Any], ...]
    environments: tuple[Mapping[str, Any], ...]
    config: str

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def counts(self) -> np.ndarray:
        """(C,) int64: training images a class."""
        return np.asarray(self.checkpoint.manifest["counts"], dtype=np.int64)

    def columns(self, file: str, names: tuple[str, ...]) -> dict[str, np.ndarray] | None:
        """Columns of numbers of a CSV file, NaN where a cell is empty; None where the file or a column is not there.

        The run's own file comes first, then those of `shelfmark evaluate` in its folder that scored this checkpoint.
        """
        found = (table_columns(place / file, names) for place in self._scored)
        return next((one for one in found if one is not None), None)

    @property
    def _scored(self) -> list[Path]:
        return [self.folder, *evaluations(self.folder, self.checkpoint)]


def stored_run(folder: Path) -> StoredRun:
    """UserError: the folder has no checkpoint of a run."""
    saved = next((folder / name for name in (BEST, LAST) if folder_to_read(folder / name).is_dir()), None)
    if saved is None:
        raise UserError(
            f"{folder} is not the folder of a run: it has neither {BEST}/ nor {LAST}/. Give the folder that a training"
            " wrote, such as log/shop."
        )
    checkpoint = load_checkpoint(saved)
    summaries = (summary_of(place) for place in (folder, *evaluations(folder, checkpoint)))
    files = [folder / "environment.json", *sorted(folder.glob("environment_*.json"), key=_number)]
    return StoredRun(
        folder,
        checkpoint,
        next((found for found in summaries if found), {}),
        tuple(read_metrics(folder / "metrics.jsonl")),
        tuple(read_json(file) for file in files if file.is_file()),
        _text(sorted(folder.glob("config*.yaml"), key=_number)),
    )


def evaluations(folder: Path, checkpoint: Checkpoint) -> list[Path]:
    """The folders of `shelfmark evaluate` in a run's folder whose features are of this checkpoint, the newest first."""
    found = []
    for facts in folder.glob(f"evaluation*/{STORED}/*/{MANIFEST}"):
        manifest = or_none(partial(read_json, facts)) or {}
        if manifest.get("facts", {}).get(CHECKPOINT) == checkpoint.weights_hash:
            found.append(facts.parents[2])
    return sorted(dict.fromkeys(found), key=lambda place: place.stat().st_mtime, reverse=True)


def summary_of(folder: Path) -> dict[str, Any]:
    """The scores of summary.json, {} where there is none; of a recalibration, those of the model that it saved."""
    file = folder / "summary.json"
    found = read_json(file) if file.is_file() else {}
    if isinstance(found, dict) and isinstance(found.get("methods"), list):
        found = _saved_scores(found)
    if not isinstance(found, dict) or not all(isinstance(one, int | float | None) for one in found.values()):
        raise UserError(f"{file} is damaged: it holds no scores. Make it anew with `shelfmark evaluate`.")
    return found


def _saved_scores(recalibration: dict[str, Any]) -> dict[str, Any]:
    """The scores of the method whose model was saved; empty where there is none."""
    rows = [one for one in recalibration["methods"] if isinstance(one, dict)]
    saved = next((one for one in rows if one.get("method") == recalibration.get("saved")), {})
    scores = {name: value for name, value in saved.items() if isinstance(value, int | float | None)}
    # What is saved has the temperature that was learned on top.
    with_temperature = scores.pop("ece_with_temperature", None)
    return scores if with_temperature is None else {**scores, "ece": with_temperature}


def table_columns(file: Path, names: tuple[str, ...]) -> dict[str, np.ndarray] | None:
    """As `StoredRun.columns`, of any file."""
    found: dict[str, list[float]] = {name: [] for name in names}
    try:
        with open(file, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            reader = csv.reader(stream)
            head = next(reader, [])
            places = [head.index(name) for name in names]
            for row in reader:
                for name, place in zip(names, places):
                    found[name].append(_number_of(row[place]))
    except (FileNotFoundError, ValueError, IndexError):
        return None
    return {name: np.array(values, dtype=float) for name, values in found.items()}


def or_none(read: Callable[[], T]) -> T | None:
    """What `read` gives; None where a UserError or an error of the system says that it is not there."""
    try:
        return read()
    except (UserError, OSError):
        return None


def _number_of(cell: str) -> float:
    return float("nan") if cell in ("", "n/a") else float(cell)


def _number(file: Path) -> int:
    """The number behind the name: config.yaml, config_2.yaml ... config_10.yaml."""
    digits = file.stem.rpartition("_")[2]
    return int(digits) if digits.isdigit() else 1


def _text(files: list[Path]) -> str:
    return files[-1].read_text(encoding="utf-8", errors="replace") if files else ""
