"""The log of a run's numbers: metrics.jsonl and TensorBoard events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from shelfmark.core import dist
from shelfmark.core.disk import disk_full_told
from shelfmark.core.errors import UserError
from shelfmark.core.files import plain, write_text
from shelfmark.core.log import warn

CLOSING = ("epoch", "val")
"""The records that an epoch ends with."""


class MetricsLog:
    """Appends records to `<folder>/metrics.jsonl`, one JSON object a line, and mirrors numbers to TensorBoard.

    Only the main process writes. A record has `kind` (train, skipped, epoch or val), `step` (batches done) and `epoch`.
    """

    def __init__(self, folder: Path, step: int = 0, epoch: int = 0) -> None:
        """step, epoch: where the run goes on. Later records of a killed run are dropped, since they come again."""
        self._file = folder / "metrics.jsonl"
        self._board: SummaryWriter | None = None
        if dist.is_main():
            records = read_metrics(self._file)
            kept = [one for one in records if one["step"] <= step and not _closes_later(one, epoch)]
            write_text(self._file, "".join(_line(record) for record in kept))
            with disk_full_told(folder / "tensorboard"):
                self._board = SummaryWriter(folder / "tensorboard", purge_step=step + 1)

    def write(self, kind: str, step: int, epoch: int, values: Mapping[str, Any]) -> None:
        """Adds one record; numbers go to TensorBoard as `<kind>/<name>`."""
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
        """Flushes the events."""
        if self._board is not None:
            board, self._board = self._board, None
            try:
                board.close()
            except OSError as error:
                warn(f"the last events for TensorBoard were not written: {error.strerror}")

    def _mirror(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        if self._board is None:
            return
        try:
            for name, value in plain(values).items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    self._board.add_scalar(f"{kind}/{name}", value, step)
        except OSError as error:
            # metrics.jsonl has every number, so an error of TensorBoard need not end the run.
            warn(f"TensorBoard's events cannot be written ({error.strerror}); the run goes on with metrics.jsonl alone")
            self._board = None


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
