"""What is shown while a run goes on."""

from __future__ import annotations

import io
import itertools
import re

import pytest
import torch
from rich.console import Console

from shelfmark.engine import display
from shelfmark.engine.display import Display


def _shown(is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(display, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(display, "SECONDS_BETWEEN_UPDATES", 0.0)
    stream = io.StringIO()
    shown = Display(Console(file=stream, force_terminal=is_terminal, width=120))
    shown.start_epoch(epoch=2, num_epochs=5, num_steps=4, steps_done=1)
    for loss in (3.0, 2.0, 1.0):
        shown.step(num_images=8, wait_s=0.0, loss=torch.tensor(loss))
    shown.end_epoch({"loss": 2.0, "cross_entropy": 1.5, "smooth_ap": 0.5})
    shown.close()
    return stream.getvalue()


def test_without_a_terminal_there_are_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = _shown(False, monkeypatch).splitlines()
    assert lines[0].startswith("epoch 3/5  step 2/4  loss 3.000")
    assert "images/s  data wait 0%" in lines[0]
    assert lines[0].endswith("left of the epoch: 0 s, of the run: 0 s")
    assert lines[-1].startswith("epoch 3/5  loss 2.0000  (cross_entropy 1.5000, smooth_ap 0.5000)")
    assert all(character.isprintable() for line in lines for character in line)


def test_in_a_terminal_one_bar_shows_how_far_the_epoch_is_and_one_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    text = _shown(True, monkeypatch)
    assert "4/4" in text
    assert "loss 1.000" in text
    assert "whole run" in text
    assert "60%" in text  # three of five epochs


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_bar_is_cut_or_broken_at_any_width(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(display, "SECONDS_BETWEEN_UPDATES", 0.0)
    clock_s = itertools.count(0.0, 4000.0)
    monkeypatch.setattr(display.time, "perf_counter", lambda: next(clock_s))
    stream = io.StringIO()
    shown = Display(Console(file=stream, force_terminal=True, color_system=None, width=width))
    shown.start_epoch(epoch=99, num_epochs=300, num_steps=2000, steps_done=0)
    for _ in range(1200):
        shown.step(num_images=256, wait_s=0.0, loss=torch.tensor(12.345))
    shown.close()  # which draws them once more
    drawn = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "\n", stream.getvalue())
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", drawn) if line.strip()]
    assert "…" not in drawn
    assert max(map(len, lines)) <= width
    epoch = next(line for line in reversed(lines) if line.startswith("epoch 100/300"))
    run = next(line for line in reversed(lines) if line.startswith("whole run"))
    assert "loss 12.345" in epoch
    assert epoch.endswith(" left")
    assert " elapsed  " in run
    assert run.endswith(" left")


def test_the_time_left_of_the_run_counts_what_stands_between_the_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "SECONDS_BETWEEN_LINES", 0.0)
    clock = {"s": 0.0}
    monkeypatch.setattr(display.time, "perf_counter", lambda: clock["s"])
    stream = io.StringIO()
    shown = Display(Console(file=stream, width=160))
    for epoch in (1, 2):
        shown.start_epoch(epoch, num_epochs=5, num_steps=10, steps_done=0)
        for _ in range(10):
            clock["s"] += 1.0
            shown.step(num_images=8, wait_s=0.0, loss=torch.tensor(1.0))
        shown.end_epoch({"loss": 1.0})
        clock["s"] += 5.0  # an evaluation
    # After 15 s and half of the third epoch, 20 of 40 steps' time: 20 s for 1.5 epochs, 2.5 to go.
    assert "step 5/10  loss 1.000  8 images/s  data wait 0%  left of the epoch: 5 s, of the run: 33 s" in (
        stream.getvalue()
    )


def test_a_run_has_no_less_time_left_than_its_epoch_when_a_slower_stage_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "SECONDS_BETWEEN_LINES", 0.0)
    clock = {"s": 0.0}
    monkeypatch.setattr(display.time, "perf_counter", lambda: clock["s"])
    stream = io.StringIO()
    shown = Display(Console(file=stream, width=160))
    for epoch, step_s in ((0, 0.01), (1, 0.01), (2, 2.0)):
        shown.start_epoch(epoch, num_epochs=4, num_steps=10, steps_done=0)
        for _ in range(10):
            clock["s"] += step_s
            shown.step(num_images=8, wait_s=0.0, loss=torch.tensor(1.0))
    # Six steps of this epoch and ten of the last, two seconds each.
    assert "epoch 3/4  step 4/10" in stream.getvalue()
    assert "left of the epoch: 12 s, of the run: 32 s" in stream.getvalue()


def test_the_speed_counts_only_what_this_process_ran() -> None:
    shown = Display(Console(file=io.StringIO()))
    shown.start_epoch(0, 1, num_steps=100, steps_done=90)
    shown.step(num_images=64, wait_s=0.0, loss=torch.tensor(1.0))
    speed = shown.speed()
    assert 0 < speed["images_per_s"] < 64 / 1e-6
    assert speed["data_wait_share"] == 0.0


def test_the_seconds_left_go_by_the_steps_that_this_process_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(display.time, "perf_counter", iter(range(0, 100, 2)).__next__)
    stream = io.StringIO()
    shown = Display(Console(file=stream, width=120))
    shown.start_epoch(0, 1, num_steps=100, steps_done=90)
    shown.step(num_images=8, wait_s=0.0, loss=torch.tensor(1.0))  # Two seconds a step, nine to go.
    assert "step 91/100" in stream.getvalue()
    assert "left of the epoch: 18 s, " in stream.getvalue()


def test_an_epoch_without_a_step_left_has_no_speed() -> None:
    stream = io.StringIO()
    shown = Display(Console(file=stream, width=120))
    shown.start_epoch(epoch=2, num_epochs=5, num_steps=4, steps_done=4)
    shown.end_epoch({"loss": 2.0})
    assert stream.getvalue() == "epoch 3/5  loss 2.0000\n"
    shown.end_epoch({})
    assert stream.getvalue() == "epoch 3/5  loss 2.0000\n"
