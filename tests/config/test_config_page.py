"""docs/config.md says what the code does."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from shelfmark.config.errors import ConfigError
from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.recipe.tree import Recipe

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")


def block(language: str, index: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)[index]


def test_the_errors_on_the_page_are_the_ones_that_come(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    shutil.copy(ROOT / "configs" / "grocery.yaml", "configs")
    file = Path("configs/mine.yaml")
    file.write_text(block("yaml", 1))
    with pytest.raises(ConfigError) as caught:
        load(Recipe, file, [parse_override("train.batch_size=0")])
    assert str(caught.value) == block("text").rstrip("\n")
