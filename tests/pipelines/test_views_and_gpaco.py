"""GPaCo on two views of each image, with a memory, in a whole run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_recipe import SMALL

from shelfmark.cli import main
from shelfmark.engine.checkpoint import load_checkpoint
from shelfmark.engine.metrics_log import read_metrics

GPACO = [
    *SMALL,
    "model.heads={contrast: {dim: 16, hidden_dim: 24}}",
    "losses=[{name: gpaco, vectors_head: contrast, memory_rows: 80}]",
    "augment.views=2",
    "train.steps_per_epoch=5",
    "optim.schedule.name=constant",
]


def _train_records(name: str) -> list[dict[str, Any]]:
    return [record for record in read_metrics(Path("log", name, "metrics.jsonl")) if record["kind"] == "train"]


def test_a_resumed_run_goes_on_with_its_views_and_memory_to_the_same_digits(
    small: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["train", *GPACO, "name=whole"]) == 0
    assert main(["train", *GPACO, "name=halves", "train.num_epochs=1"]) == 0
    assert main(["train", "--RESUME_MODEL", "log/halves/last", "train.num_epochs=2"]) == 0
    records = _train_records("whole")
    assert _train_records("halves") == records
    assert [record["step"] for record in records] == list(range(1, 11))
    assert all(record["gpaco"] == record["loss"] > 0 for record in records)
    states = [load_checkpoint(Path("log", name, "last")).read_state() for name in ("whole", "halves")]
    memories = [state["memories"]["gpaco"] for state in states]
    assert memories[0]["vectors"].equal(memories[1]["vectors"])
    assert memories[0]["vectors"].shape == (80, 16)
    assert "starts empty" not in caplog.text
