"""Fixtures that several tests share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from filelock import FileLock

# As the command line does, before anything imports torch.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

CHECKOUT = Path(__file__).parents[1]
sys.path.insert(0, str(CHECKOUT / "tests"))


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The folder that holds main.py and configs/."""
    return CHECKOUT


@pytest.fixture(scope="session")
def grocery_root() -> Path:
    """The grocery photographs beside the checkout."""
    root = CHECKOUT.parent / "shared" / "data" / "grocery"
    if not root.is_dir():
        pytest.skip(f"the grocery photographs are not at {root}")
    return root


@pytest.fixture(scope="session")
def shop_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated shop, made once for all tests of all runners."""
    from shelfmark.data.shop import generate_shop, is_complete

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    root = folder / "shared_shop" / "shop"
    with FileLock(folder / "shared_shop.lock"):
        if not is_complete(root):
            generate_shop(root)
    return root


@pytest.fixture
def workplace(tmp_path: Path, shop_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder that has the shop in dataset/shop; relative paths of configs land here."""
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "shop").symlink_to(shop_root)
    (tmp_path / "configs").symlink_to(CHECKOUT / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest, the demo, first. Tests marked `gpu` are skipped where there is none; nothing else is."""
    import torch

    items.sort(key=lambda item: item.path.name != "test_demo.py")
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="this machine has no CUDA device"))
