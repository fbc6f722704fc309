"""What of two runs has to be equal bit for bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from shelfmark.engine.metrics_log import read_metrics

TIMES = ("images_per_s", "data_wait_share", "peak_memory_bytes")


def differences(run: Path, whole: Path) -> list[str]:
    """What two finished runs do not have in common, bit by bit; times are left out. Empty where they are equal."""
    found = []
    for name in ("last", "best_model"):
        found += unequal(_model(run / name), _model(whole / name), f"{name}/model")
        found += unequal(_state(run / name), _state(whole / name), f"{name}/state")
    found += unequal(_records(run), _records(whole), "metrics.jsonl")
    found += unequal(_summary(run), _summary(whole), "summary.json")
    return found + [f"litter: {name}" for name in sorted(_kept(run) - _kept(whole))]


def unequal(ours: Any, theirs: Any, where: str) -> list[str]:
    """The places at which two nested values differ, by bits where they are tensors or arrays."""
    if isinstance(ours, np.ndarray) and isinstance(theirs, np.ndarray):
        same = ours.dtype == theirs.dtype and ours.shape == theirs.shape and ours.tobytes() == theirs.tobytes()
        return [] if same else [where]
    if isinstance(ours, torch.Tensor):
        same = ours.dtype == theirs.dtype and ours.shape == theirs.shape and _bytes(ours) == _bytes(theirs)
        return [] if same else [where]
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping) and ours.keys() == theirs.keys():
        return [one for key in ours for one in unequal(ours[key], theirs[key], f"{where}/{key}")]
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple) and len(ours) == len(theirs):
        return [one for at, pair in enumerate(zip(ours, theirs)) for one in unequal(*pair, f"{where}/{at}")]
    # As text, so that a NaN equals a NaN.
    return [] if repr(ours) == repr(theirs) else [f"{where}: {str(ours)[:80]} is not {str(theirs)[:80]}"]


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.reshape(-1).clone().view(torch.uint8).numpy().tobytes()


def _model(checkpoint: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoint / "model.safetensors")


def _state(checkpoint: Path) -> Any:
    return torch.load(checkpoint / "state.pt", map_location="cpu", weights_only=True)


def _records(run: Path) -> list[dict[str, Any]]:
    records = read_metrics(run / "metrics.jsonl")
    return [{name: value for name, value in record.items() if name not in TIMES} for record in records]


def _summary(run: Path) -> dict[str, Any]:
    return json.loads((run / "summary.json").read_text())


def _kept(run: Path) -> set[str]:
    """The names in a run folder and beside it, but for those that every start adds one of."""
    names = {path.name for path in run.iterdir()} | {f"../{path.name}" for path in run.parent.iterdir()}
    return {name for name in names if not name.startswith(("config", "environment"))}
