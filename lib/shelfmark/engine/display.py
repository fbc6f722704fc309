"""The progress of a run on the screen: a progress bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from shelfmark.core import dist

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_UPDATES = 0.25


class Display:
    """Loss, images a second, the share of time spent waiting for data, and the time left."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._label = ""
        self._total = self._first = self._steps = self._images = 0
        self._wait_s = self._began_at = self._shown_at = 0.0

    def start_epoch(self, epoch: int, num_epochs: int, num_steps: int, steps_done: int) -> None:
        """Begins an epoch, perhaps in its middle. Epochs are shown from 1."""
        self._label = f"epoch {epoch + 1}/{num_epochs}"
        self._restart(num_steps, steps_done)
        if dist.is_main() and self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=28),
                MofNCompleteColumn(),
                TextColumn("{task.fields[facts]}"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._label, total=num_steps, completed=steps_done, facts="")

    def step(self, num_images: int, wait_s: float, loss: Tensor) -> None:
        """Counts one step. loss: 0-dim; read only when it is shown, because reading stalls a GPU."""
        self._steps += 1
        self._images += num_images
        self._wait_s += wait_s
        now = time.perf_counter()
        pause_s = SECONDS_BETWEEN_UPDATES if self._bar else SECONDS_BETWEEN_LINES
        if now - self._shown_at < pause_s or not dist.is_main():
            return
        self._shown_at = now
        if self._bar:
            self._bar.update(self._task, completed=self._steps, facts=f"loss {float(loss):.3f}  {self._rates()}")
        else:
            left_s = (now - self._began_at) / max(1, self._steps - self._first) * (self._total - self._steps)
            self._print(
                f"step {self._steps}/{self._total}  loss {float(loss):.3f}  {self._rates()}  {left_s:.0f} s left"
            )

    def end_epoch(self, mean_losses: Mapping[str, float]) -> None:
        """Shows the epoch's mean losses; empty where no step was good."""
        if self._bar:
            self._bar.stop()
            self._bar = None
        if dist.is_main():
            parts = [f"loss {mean_losses['loss']:.4f}"] if mean_losses else []
            others = {name: value for name, value in mean_losses.items() if name != "loss"}
            if len(others) > 1:
                parts.append("(" + ", ".join(f"{name} {value:.4f}" for name, value in others.items()) + ")")
            self._print("  ".join([*parts, self._rates()]))

    def speed(self) -> dict[str, float]:
        """images_per_s and data_wait_share (0..1) of the epoch, as far as this process ran it."""
        elapsed_s = max(time.perf_counter() - self._began_at, 1e-9)
        return {"images_per_s": self._images / elapsed_s, "data_wait_share": self._wait_s / elapsed_s}

    def close(self) -> None:
        """Leaves the terminal as it was, after an error too."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _restart(self, num_steps: int, steps_done: int) -> None:
        self._began_at = self._shown_at = time.perf_counter()
        self._total, self._first, self._steps = num_steps, steps_done, steps_done
        self._images, self._wait_s = 0, 0.0

    def _rates(self) -> str:
        speed = self.speed()
        return f"{speed['images_per_s']:.0f} images/s  data wait {speed['data_wait_share']:.0%}"

    def _print(self, text: str) -> None:
        self._console.print(f"{self._label}  {text}", soft_wrap=True, markup=False)
