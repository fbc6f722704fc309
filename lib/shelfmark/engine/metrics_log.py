"""The log of a run's numbers: metrics.jsonl, TensorBoard events, and the trackers that were asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shelfmark.core import dist
from shelfmark.core.disk import disk_full_told
from shelfmark.core.errors import UserError
from shelfmark.core.files import plain, write_text
from shelfmark.core.log import warn
from shelfmark.engine.trackers.tensorboard_events import TensorBoardEvents
from shelfmark.engine.trackers.tracker import Tracker

CLOSING = ("epoch", "images", "val")
"""The records that an epoch ends with."""


class MetricsLog:
    """Appends records to `<folder>/metrics.jsonl`, one JSON object a line, and mirrors numbers to trackers.

    Only the main process writes. A record has `kind` (train, skipped, epoch, images or val), `step` (batches done) and
    `epoch`.
    """

    def __init__(
        self, folder: Path, step: int = 0, epoch: int = 0, trackers: Mapping[str, Callable[[], Tracker]] | None = None
    ) -> None:
        """step, epoch: where the run goes on. Later records of a killed run are dropped, since they come again.

        trackers: what opens each, by its name; they are opened with the first numbers. TensorBoard comes without being
        asked for.
        """
        self._file = folder / "metrics.jsonl"
        self._unopened: dict[str, Callable[[], Tracker]] = {}
        self._open: dict[str, Tracker] = {}
        if dist.is_main():
            records = read_metrics(self._file)
            kept = [one for one in records if one["step"] <= step and not _closes_later(one, epoch)]
            write_text(self._file, "".join(_line(record) for record in kept))
            self._open["TensorBoard"] = TensorBoardEvents(folder, step)
            self._unopened = dict(trackers or {})

    def write(self, kind: str, step: int, epoch: int, values: Mapping[str, Any]) -> None:
        """Adds one record; its numbers go to the trackers as `<kind>/<name>`."""
        if not dist.is_main():
            return
        line = _line({"kind": kind, "step": step, "epoch": epoch, **values})
        try:
            with disk_full_told(self._file, len(line)), open(self._file, "a", encoding="utf-8") as stream:
                stream.write(line)
        except OSError as error:
            raise UserError(
                f"{self._file} cannot be written any more: {error.strerror}. Was the run's folder moved or removed?"
                " Bring it back, then go on with --RESUME_MODEL auto."
            ) from None
        self._mirror(kind, step, values)

    def close(self) -> None:
        """Writes what the trackers still hold."""
        trackers, self._open, self._unopened = self._open, {}, {}
        for name, tracker in trackers.items():
            try:
                tracker.close()
            except Exception as error:  # Each tracker fails in classes of its own.
                warn(f"the last numbers for {name} were not written: {_reason(error)}")

    def _mirror(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        numbers = {
            f"{kind}/{name}": value
            for name, value in plain(values).items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        for name in [*self._open, *self._unopened] if numbers else ():
            try:
                if name in self._unopened:
                    self._open[name] = self._unopened.pop(name)()
                self._open[name].write(step, numbers)
            except Exception as error:  # Each tracker fails in classes of its own.
                # metrics.jsonl has every number, so an error of a tracker need not end the run.
                warn(f"{name} cannot be written ({_reason(error)}); the run goes on with metrics.jsonl")
                self._open.pop(name, None)


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl, [] where there is none. A last line that a kill cut off is left out.

    UserError: another line is damaged; it names the line.
    """
    if not file.exists():
        return []
    lines = file.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line.decode("utf-8")) if line.strip() else None
            if record is not None:
                records.append(_checked(record))
        except (ValueError, RecursionError) as error:
            # Whole lines end with a line break, so only a cut one is the last.
            if number == len(lines):
                break
            raise UserError(
                f"{file} is damaged in line {number}: {str(error)[:120]}. Repair or delete the line, or move the file"
                " away: a resumed run goes on without the records that are not there."
            ) from None
    return records


def _checked(record: Any) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise ValueError("it is no JSON object")
    for name in ("step", "epoch"):
        if not isinstance(record.get(name), int) or isinstance(record.get(name), bool):
            raise ValueError(f"its {name!r} is {'missing' if name not in record else 'no whole number'}")
    if not isinstance(record.get("kind"), str):
        raise ValueError("its 'kind' is missing")
    return record


def _closes_later(record: Mapping[str, Any], epoch: int) -> bool:
    """Whether this record ends the epoch in progress: the run stopped between the epoch's last step and its end."""
    return record["kind"] in CLOSING and record["epoch"] >= epoch


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(plain(record), allow_nan=False) + "\n"


def _reason(error: Exception) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return " ".join(text.split())[:200]
