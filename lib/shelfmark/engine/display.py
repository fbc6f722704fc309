"""The progress of a run on the screen: a bar for the epoch and one for the run in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column
from torch import Tensor

from shelfmark.core import dist
from shelfmark.core.terminal import console_settings, duration

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_UPDATES = 0.25
_PARTS = 1000
"""Of the run: a bar counts in whole numbers."""
_WIDE, _NARROW = 100, 72
"""Columns from which on a bar has room for everything; below which it has room for the loss and the times alone."""


@dataclass
class _Run:
    """How far all epochs are, as shares of the run. begun, began_at: where and when this process came in."""

    num_epochs: int
    begun: float
    began_at: float

    def left_s(self, done: float, now: float) -> float:
        """Seconds until the end, evaluations and checkpoints included, at the pace so far."""
        return (now - self.began_at) / max(done - self.begun, 1e-9) * (1 - done)


class Display:
    """Loss, images a second, the share of time spent waiting for data, and the times left of epoch and run."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(**console_settings())
        self._bars: Progress | None = None
        self._of_epoch = self._of_run = TaskID(0)
        self._label = ""
        self._epoch = self._total = self._first = self._steps = self._images = 0
        self._wait_s = self._began_at = self._shown_at = 0.0
        self._run: _Run | None = None

    def start_epoch(self, epoch: int, num_epochs: int, num_steps: int, steps_done: int) -> None:
        """Begins an epoch, perhaps in its middle. Epochs are shown from 1."""
        self._label, self._epoch = f"epoch {epoch + 1}/{num_epochs}", epoch
        self._restart(num_steps, steps_done)
        if self._run is None:
            begun = (epoch + steps_done / max(1, num_steps)) / num_epochs
            self._run = _Run(num_epochs, begun, self._began_at)
        if dist.is_main() and self._console.is_terminal:
            self._show_bars(num_steps, steps_done)

    def step(self, num_images: int, wait_s: float, loss: Tensor) -> None:
        """Counts one step. loss: 0-dim; read only when it is shown, because reading stalls a GPU."""
        self._steps += 1
        self._images += num_images
        self._wait_s += wait_s
        now = time.perf_counter()
        pause_s = SECONDS_BETWEEN_UPDATES if self._bars else SECONDS_BETWEEN_LINES
        if now - self._shown_at < pause_s or not dist.is_main():
            return
        self._shown_at = now
        left_s = self._step_s(now) * (self._total - self._steps)
        if self._bars:
            self._update_bars(float(loss), left_s, now)
        else:
            self._print(
                f"step {self._steps}/{self._total}  loss {float(loss):.3f}  {self._rates(now)}  left of the epoch:"
                f" {duration(left_s)}, of the run: {duration(self._run_left_s(now))}"
            )

    def end_epoch(self, mean_losses: Mapping[str, float]) -> None:
        """Shows the epoch's mean losses; empty where no step was good. Its speed is that of steps of this process."""
        self.close()
        if dist.is_main():
            parts = [f"loss {mean_losses['loss']:.4f}"] if mean_losses else []
            others = {name: value for name, value in mean_losses.items() if name != "loss"}
            if len(others) > 1:
                parts.append("(" + ", ".join(f"{name} {value:.4f}" for name, value in others.items()) + ")")
            if self._steps > self._first:
                parts.append(self._rates(time.perf_counter()))
            if parts:
                self._print("  ".join(parts))

    def speed(self) -> dict[str, float]:
        """images_per_s and data_wait_share (0..1) of the epoch, as far as this process ran it."""
        return self._speed(time.perf_counter())

    def close(self) -> None:
        """Leaves the terminal as it was, after an error too."""
        if self._bars:
            self._bars.stop()
            self._bars = None

    def _restart(self, num_steps: int, steps_done: int) -> None:
        self._began_at = self._shown_at = time.perf_counter()
        self._total, self._first, self._steps = num_steps, steps_done, steps_done
        self._images, self._wait_s = 0, 0.0

    def _show_bars(self, num_steps: int, steps_done: int) -> None:
        width = self._console.width
        whole = Column(no_wrap=True, overflow="crop")
        self._bars = Progress(
            TextColumn("{task.description}", table_column=whole),
            BarColumn(bar_width=28 if width >= _WIDE else 12 if width >= _NARROW else 6),
            TextColumn("{task.fields[facts]}", table_column=whole),
            console=self._console,
            transient=True,
        )
        self._of_epoch = self._bars.add_task(
            self._label, total=num_steps, completed=steps_done, facts=f"{steps_done}/{num_steps}"
        )
        done = self._done_of_run()
        self._of_run = self._bars.add_task(
            "whole run", total=_PARTS, completed=round(_PARTS * done), facts=f"{done:.0%}"
        )
        self._bars.start()

    def _update_bars(self, loss: float, left_s: float, now: float) -> None:
        assert self._bars is not None
        width = self._console.width
        rates = self._rates(now) if width >= _WIDE else f"{self._speed(now)['images_per_s']:.0f} images/s"
        facts = [f"{self._steps}/{self._total}", f"loss {loss:.3f}", *([rates] if width >= _NARROW else [])]
        self._bars.update(self._of_epoch, completed=self._steps, facts="  ".join([*facts, f"{duration(left_s)} left"]))
        done = self._done_of_run()
        elapsed_s = now - self._run.began_at if self._run else 0.0
        times = f"{duration(elapsed_s)} elapsed  {duration(self._run_left_s(now))} left"
        self._bars.update(self._of_run, completed=round(_PARTS * done), facts=f"{done:.0%}  {times}")

    def _done_of_run(self) -> float:
        return (self._epoch + self._steps / max(1, self._total)) / (self._run.num_epochs if self._run else 1)

    def _run_left_s(self, now: float) -> float:
        """By the pace of the run, or that of this epoch where it is slower: a later stage may train more."""
        if self._run is None:
            return 0.0
        steps = self._total * (self._run.num_epochs - self._epoch) - self._steps
        return max(self._run.left_s(self._done_of_run(), now), self._step_s(now) * steps)

    def _step_s(self, now: float) -> float:
        return (now - self._began_at) / max(1, self._steps - self._first)

    def _speed(self, now: float) -> dict[str, float]:
        elapsed_s = max(now - self._began_at, 1e-9)
        return {"images_per_s": self._images / elapsed_s, "data_wait_share": self._wait_s / elapsed_s}

    def _rates(self, now: float) -> str:
        speed = self._speed(now)
        return f"{speed['images_per_s']:.0f} images/s  data wait {speed['data_wait_share']:.0%}"

    def _print(self, text: str) -> None:
        self._console.print(f"{self._label}  {text}", soft_wrap=True, markup=False)
