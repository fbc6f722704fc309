"""Fixtures of tests that train small models; a conftest imports those that its folder uses."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from matplotlib.figure import Figure
from PIL import Image
from small_recipe import SMALL

from shelfmark.cli import main
from shelfmark.engine import checkpointer
from shelfmark.engine.checkpoint import save_checkpoint


@pytest.fixture(scope="module", autouse=True)
def unrendered() -> Iterator[None]:
    """Figures are composed and their files written, but each as one pixel, and no page is made: rendering is half of a
    small run's time.

    The demo, whose fixture comes before this one, renders, and so do the tests of each figure in tests/reports.
    """

    def one_pixel(figure: Figure, file: Path, **_: object) -> None:
        Image.new("RGB", (1, 1)).save(file, "PNG")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Figure, "savefig", one_pixel)
        patched.setattr("shelfmark.pipelines.train.report_of_training", lambda *_: None)
        yield


@pytest.fixture(scope="module", autouse=True)
def undrawn() -> Iterator[None]:
    """The figures of training, evaluation and tau are not even composed: a sixth of a small run.

    The demo composes and renders them all, and tests/runtime/test_evaluation_plots.py those of other classifiers.
    """
    with pytest.MonkeyPatch.context() as patched:
        leave_out_figures(patched)
        yield


def leave_out_figures(patched: pytest.MonkeyPatch) -> None:
    for name in ("evaluate.draw_evaluation", "train.curves", "tau_norm.tau_curve"):
        patched.setattr(f"shelfmark.pipelines.{name}", lambda *_, **__: None)


@pytest.fixture
def small(workplace: Path) -> Path:
    """The workplace, with the pictures of ten classes to evaluate on."""
    write_small_annotations(workplace)
    return workplace


@pytest.fixture(scope="session")
def base_run(shop_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """log/base of two training steps, made once for all runners of a session. Tests leave it as it is."""
    place = tmp_path_factory.getbasetemp()
    # A runner of several has a folder of its own in that of the session.
    folder = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / "base"
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            made = tmp_path_factory.mktemp("base_run")
            _train_base(made, shop_root)
            made.rename(folder)
    return folder / "log"


def _train_base(folder: Path, shop_root: Path) -> None:
    (folder / "dataset").mkdir()
    (folder / "dataset" / "shop").symlink_to(shop_root)
    write_small_annotations(folder)
    with contextlib.chdir(folder):
        short = ["name=base", "train.num_epochs=1", "train.steps_per_epoch=2", "train.precision=fp32"]
        assert main(["train", *SMALL, *short]) == 0


@pytest.fixture
def base(small: Path, base_run: Path) -> Path:
    """A copy of that run in log/base of the small workplace."""
    shutil.copytree(base_run, small / "log")
    return small / "log" / "base"


def write_small_annotations(folder: Path) -> None:
    for name in ("val", "retrieval"):
        document = json.loads((folder / f"dataset/shop/{name}.json").read_text())
        document["annotations"] = [one for one in document["annotations"] if one["category_id"] < 10]
        (folder / f"{name}_small.json").write_text(json.dumps(document))


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
