"""Every listed image is trained or skipped for one reason, whatever the processes, and over a stop."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from shelfmark.core import dist
from shelfmark.core.contracts import BadImage
from shelfmark.data.bad_images import BadImageLog
from shelfmark.engine.accounting import NO_LABEL, NOT_DRAWN, SKIPPED_STEP, Accounting
from shelfmark.engine.hooks import BadImages
from shelfmark.engine.metrics_log import MetricsLog, read_metrics

LABELS = np.array([0, 1, -1, 2, 0, 1, 2, 0, 1, 2])
EXPECTED = {2: NO_LABEL, 3: "truncated", 6: SKIPPED_STEP, 9: NOT_DRAWN}


def hook(folder: Path, log: MetricsLog, step_in_epoch: int = 0) -> Accounting:
    bad = BadImageLog(folder / "bad_images.csv", len(LABELS), limit=1.0)
    state: Any = SimpleNamespace(progress=SimpleNamespace(step=7, epoch=1, step_in_epoch=step_in_epoch))
    return Accounting(state, log, LABELS, bad)


def step(one: Accounting, rows: list[int], skipped: str = "", bad: tuple[BadImage, ...] = ()) -> None:
    one.bad_images.add(bad)
    done: Any = SimpleNamespace(batch=SimpleNamespace(rows=torch.tensor(rows)), result=SimpleNamespace(skipped=skipped))
    one.step_ends(done)


def begun(folder: Path, log: MetricsLog) -> Accounting:
    """The first half of an epoch: a picture in the place of one that could not be read, and a step that was skipped."""
    one = hook(folder, log)
    one.epoch_begins(2, 0.1)
    step(one, [0, 1, 8], bad=(BadImage(3, "3.jpg", "truncated"),))
    step(one, [6, 7], skipped="the loss is nan")
    return one


def finish(one: Accounting) -> dict[str, Any]:
    step(one, [4, 5, 7, 0])
    one.epoch_ends(0.1)
    return read_metrics(one.log._file)[-1]


def test_what_is_listed_is_trained_or_skipped_for_one_reason(tmp_path: Path) -> None:
    one = begun(tmp_path, MetricsLog(tmp_path))
    record = finish(one)
    assert one.reasons() == EXPECTED
    assert (record["kind"], record["listed"], record["trained"]) == ("images", 10, 6)
    assert record["skipped"] == dict(Counter(EXPECTED.values()))
    assert record["listed"] == record["trained"] + sum(record["skipped"].values())
    one.epoch_begins(2, 0.1)
    assert one.accounts()["trained"] == 0


def test_a_stop_in_the_middle_of_an_epoch_changes_nothing(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    first = begun(tmp_path, log)
    state, bad = first.state_dict(), first.bad_images.state_dict()
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    second = hook(tmp_path, log, step_in_epoch=2)
    second.bad_images.load_state_dict(bad)
    second.load_state_dict(state)
    second.epoch_begins(4, 0.1)
    finish(second)
    assert second.reasons() == EXPECTED


def test_processes_bring_together_what_each_has_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = MetricsLog(tmp_path)
    ours, theirs = begun(tmp_path, log), hook(tmp_path, log)
    theirs.epoch_begins(2, 0.1)
    step(theirs, [4, 5, 7, 0])
    seen = iter([theirs._trained.copy(), theirs._in_skipped.copy()])
    monkeypatch.setattr(dist, "world_size", lambda: 2)
    monkeypatch.setattr(dist, "gather_objects", lambda part: [part, np.packbits(next(seen))])
    ours.epoch_ends(0.1)
    assert ours.reasons() == EXPECTED


def test_what_each_process_could_not_read_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = (BadImageLog(tmp_path / "bad_images.csv", 10, limit=1.0) for _ in range(2))
    ours.add([BadImage(3, "3.jpg", "truncated"), BadImage(5, "5.jpg", "missing")])
    theirs.add([BadImage(5, "5.jpg", "missing"), BadImage(1, "1.jpg", "damaged")])
    monkeypatch.setattr(dist, "gather_objects", lambda state: [state, theirs.state_dict()])
    state = BadImages(ours).state_dict()
    assert state["rows"] == [3, 5, 1]
    ours.load_state_dict(state)
    assert ours.reasons == {1: "damaged", 3: "truncated", 5: "missing"}


def test_an_epoch_that_an_earlier_version_began_is_not_accounted_for(tmp_path: Path) -> None:
    one = hook(tmp_path, MetricsLog(tmp_path), step_in_epoch=2)
    one.epoch_begins(4, 0.1)
    step(one, [4, 5])
    one.epoch_ends(0.1)
    assert read_metrics(tmp_path / "metrics.jsonl") == []
    assert one.state_dict() == {}
