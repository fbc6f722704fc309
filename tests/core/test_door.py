"""A command that is printed is one that this user can paste."""

from __future__ import annotations

import shlex

import pytest

from shelfmark.core import door


@pytest.mark.parametrize(
    ("started", "on_path", "command", "expected"),
    [
        ("main.py", True, "train", "python main.py --out a"),
        ("../tau_norm.py", True, "test", "python ../test.py --out a"),
        ("main.py", True, "index build", "shelfmark index build --out a"),
        ("main.py", False, "index build", "python -m shelfmark index build --out a"),
        ("/venv/bin/shelfmark", True, "train", "shelfmark train --out a"),
        ("/lib/shelfmark/__main__.py", False, "train", "python -m shelfmark train --out a"),
    ],
)
def test_a_command_is_told_by_the_door_that_was_used(monkeypatch, started, on_path, command, expected):
    monkeypatch.setattr("sys.argv", [started, "optim.lr=1"])
    monkeypatch.setattr(door.shutil, "which", lambda name: "/venv/bin/shelfmark" if on_path else None)
    assert door.command_line(command, "--out", "a") == expected


def test_a_path_with_a_blank_is_one_word(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/my shop/main.py"])
    line = door.command_line("train", "--RESUME_MODEL", "log/my shop/last")
    assert shlex.split(line) == ["python", "/my shop/main.py", "--RESUME_MODEL", "log/my shop/last"]
