"""Command lines that are refused."""

from __future__ import annotations

import pytest

from shelfmark.cli import main


def refusal(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command line with a mistake in its input says on standard error."""
    capsys.readouterr()
    assert main(argv) == 2
    return capsys.readouterr().err
