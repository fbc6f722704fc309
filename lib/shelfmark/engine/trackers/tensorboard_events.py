"""TensorBoard: event files in the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from shelfmark.core.disk import disk_full_told


class TensorBoardEvents:
    """Events of a run under `<folder>/tensorboard`. step: where the run goes on; later events of it do not count."""

    def __init__(self, folder: Path, step: int) -> None:
        with disk_full_told(folder / "tensorboard"):
            self._writer = SummaryWriter(folder / "tensorboard", purge_step=step + 1)

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()
