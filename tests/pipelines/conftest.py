"""The demo, run once and really, though shorter than a user's; other tests read what it wrote."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image
from small_recipe import SHORT_DEMO

from shelfmark.cli import main
from shelfmark.engine import checkpointer
from shelfmark.engine.checkpoint import save_checkpoint


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
    """The whole road, with an eighth of the training."""
    return _demo_in(tmp_path_factory.mktemp("demo"), shop_root, checkout, SHORT_DEMO)


@pytest.fixture(scope="session")
def whole_demo(shop_root: Path, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """What `make demo` does: a minute and a half of training."""
    return _demo_in(tmp_path_factory.mktemp("whole_demo"), shop_root, checkout, [])


def _demo_in(folder: Path, shop: Path, checkout: Path, options: list[str]) -> DemoRun:
    (folder / "dataset").mkdir()
    (folder / "dataset" / "shop").symlink_to(shop)
    (folder / "configs").symlink_to(checkout / "configs")
    printed = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
        status = main(["demo", *options])
    assert status == 0, printed.getvalue()
    return DemoRun(folder, printed.getvalue())


@pytest.fixture(scope="module", autouse=True)
def unrendered() -> Iterator[None]:
    """Figures are composed and their files written, but each as one pixel: rendering is half of a small run's time.

    The demo, whose fixture comes before this one, renders, and so do the tests of each figure in tests/reports.
    """

    def one_pixel(figure: Figure, file: Path, **_: object) -> None:
        Image.new("RGB", (1, 1)).save(file, "PNG")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Figure, "savefig", one_pixel)
        yield


@pytest.fixture
def small(workplace: Path) -> Path:
    """The workplace, with the pictures of ten classes to evaluate on."""
    for name in ("val", "retrieval"):
        document = json.loads(Path(f"dataset/shop/{name}.json").read_text())
        document["annotations"] = [one for one in document["annotations"] if one["category_id"] < 10]
        Path(f"{name}_small.json").write_text(json.dumps(document))
    return workplace


@pytest.fixture
def kept(small: Path, monkeypatch: pytest.MonkeyPatch) -> dict[int, Path]:
    """Every checkpoint that a run writes, by its step."""
    folders: dict[int, Path] = {}

    def keep(folder: Path, model: Any, state: Any, facts: Any, previous: Path | None) -> None:
        save_checkpoint(folder, model, state, facts, previous)
        folders[facts["step"]] = small / "points" / str(facts["step"])
        shutil.copytree(folder, folders[facts["step"]], dirs_exist_ok=True)

    monkeypatch.setattr(checkpointer, "save_checkpoint", keep)
    return folders
