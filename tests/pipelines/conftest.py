"""The demo, run once and really; other tests read what it wrote."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shelfmark.cli import main
from shelfmark.engine.checkpoint import save_checkpoint
from shelfmark.pipelines import train


@dataclass(frozen=True)
class DemoRun:
    """folder: where it ran. printed: what it showed."""

    folder: Path
    printed: str

    @property
    def run(self) -> Path:
        return self.folder / "log" / "shop"

    @property
    def recalibrated(self) -> Path:
        return self.folder / "log_tau" / "shop"

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.run / "summary.json").read_text())


@pytest.fixture(scope="session")
def demo(shop_root: Path, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    folder = tmp_path_factory.mktemp("demo")
    (folder / "dataset").mkdir()
    (folder / "dataset" / "shop").symlink_to(shop_root)
    (folder / "configs").symlink_to(checkout / "configs")
    printed = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
        status = main(["demo"])
    assert status == 0, printed.getvalue()
    return DemoRun(folder, printed.getvalue())


@pytest.fixture
def small(workplace: Path) -> Path:
    """The workplace, with the pictures of twenty classes to evaluate on."""
    for name in ("val", "retrieval"):
        document = json.loads(Path(f"dataset/shop/{name}.json").read_text())
        document["annotations"] = [one for one in document["annotations"] if one["category_id"] < 20]
        Path(f"{name}_small.json").write_text(json.dumps(document))
    return workplace


@pytest.fixture
def kept(small: Path, monkeypatch: pytest.MonkeyPatch) -> dict[int, Path]:
    """Every checkpoint that a run writes, by its step."""
    folders: dict[int, Path] = {}

    def keep(folder: Path, model: Any, state: Any, facts: Any) -> None:
        save_checkpoint(folder, model, state, facts)
        folders[facts["step"]] = small / "points" / str(facts["step"])
        shutil.copytree(folder, folders[facts["step"]], dirs_exist_ok=True)

    monkeypatch.setattr(train, "save_checkpoint", keep)
    return folders
