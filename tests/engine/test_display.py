"""What is shown while a run goes on."""

from __future__ import annotations

import io

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
    assert lines[0].endswith("s left")
    assert lines[-1].startswith("epoch 3/5  loss 2.0000  (cross_entropy 1.5000, smooth_ap 0.5000)")
    assert all(character.isprintable() for line in lines for character in line)


def test_in_a_terminal_a_bar_shows_how_far_the_epoch_is(monkeypatch: pytest.MonkeyPatch) -> None:
    text = _shown(True, monkeypatch)
    assert "4/4" in text
    assert "loss 1.000" in text


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
    assert stream.getvalue().rstrip().endswith(" 18 s left")
