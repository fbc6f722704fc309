"""The demo, run once and really, though shorter than a user's; other tests read what it wrote."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from run_fixtures import base, base_run, kept, small, undrawn, unrendered
from small_recipe import SHORT_DEMO
from three_colours import colours
from twelve_classes import take_few_steps

from shelfmark.cli import main
from shelfmark.shop.counter import Counter, write_counter

__all__ = ["base", "base_run", "colours", "kept", "small", "undrawn", "unrendered"]


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
    """The whole road, with an eighth of the training, and a fifth of that of cRT and LWS."""
    with pytest.MonkeyPatch.context() as patch:
        take_few_steps(patch)
        # Two further processes would import torch, for 130 photographs.
        patch.setattr("shelfmark.pipelines.demo.write_counter", partial(write_counter, num_workers=1))
        # So weak a model gets no promise, however many photographs it is asked about.
        patch.setattr("shelfmark.pipelines.demo.COUNTER", Counter(known_each=1, num_unseen=10, unseen_each=1))
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
