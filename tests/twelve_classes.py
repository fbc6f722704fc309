"""A shop of twelve of its classes, from the head and from the tail, for commands that recalibrate."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from run_fixtures import leave_out_figures

from shelfmark.calibration import CRT, LWS

NUM_CLASSES = 12


def write_twelve_classes(folder: Path, shop_root: Path) -> None:
    """train_small.json and val_small.json in the folder, and the shop in its dataset/shop."""
    (folder / "dataset").mkdir()
    (folder / "dataset" / "shop").symlink_to(shop_root)
    for name in ("train", "val"):
        document = json.loads((shop_root / f"{name}.json").read_text())
        kept = [one for one in document["annotations"] if one["category_id"] % 10 == 0]
        records = [{**one, "category_id": one["category_id"] // 10} for one in kept]
        (folder / f"{name}_small.json").write_text(json.dumps({"annotations": records, "num_classes": NUM_CLASSES}))


@contextlib.contextmanager
def without_pictures() -> Iterator[None]:
    """Drawing takes longer than all the rest."""
    with pytest.MonkeyPatch.context() as patched:
        leave_out_figures(patched)
        yield


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Iterator[None]:
    """A tenth of cRT's and LWS's steps suffices for twelve classes."""
    with pytest.MonkeyPatch.context() as patched:
        take_few_steps(patched)
        yield


def take_few_steps(patched: pytest.MonkeyPatch) -> None:
    """cRT and LWS are content with 50 steps, or ten epochs if those are more."""
    for method in (CRT, LWS):
        num_epochs, _, *others = method.__init__.__defaults__
        patched.setattr(method.__init__, "__defaults__", (num_epochs, 50, *others))
