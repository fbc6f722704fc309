"""What a run writes down as it goes: metrics.jsonl and TensorBoard events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from shelfmark.core import dist
from shelfmark.core.files import plain, write_text


class Journal:
    """Appends records to `<folder>/metrics.jsonl`, one JSON object a line, and mirrors numbers to TensorBoard.

    Only the main process writes. A record has `kind` (train, epoch or val), `step` (batches done) and `epoch`.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        """step: where the run stands; later records, which a killed run left, are dropped because they come again."""
        self._file = folder / "metrics.jsonl"
        self._board = SummaryWriter(folder / "tensorboard", purge_step=step + 1) if dist.is_main() else None
        if dist.is_main():
            kept = [record for record in read_journal(self._file) if record["step"] <= step]
            write_text(self._file, "".join(_line(record) for record in kept))

    def write(self, kind: str, step: int, epoch: int, values: Mapping[str, Any]) -> None:
        """Adds one record; numbers go to TensorBoard as `<kind>/<name>`."""
        if self._board is None:
            return
        with open(self._file, "a", encoding="utf-8") as stream:
            stream.write(_line({"kind": kind, "step": step, "epoch": epoch, **values}))
        for name, value in plain(values).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Flushes the events."""
        if self._board is not None:
            self._board.close()


def read_journal(file: Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl, [] where there is none. A last line that a kill cut off is left out."""
    if not file.exists():
        return []
    records = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(plain(record), allow_nan=False) + "\n"
