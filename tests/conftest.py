"""Fixtures that several tests share."""

from __future__ import annotations

import os
import sys
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pytest
from filelock import FileLock

# As the command line does, before anything imports torch.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

CHECKOUT = Path(__file__).parents[1]
# Six seconds and more, so that none of them is the last and leaves the other runner without work.
LONGEST_FIRST = (
    "test_demo.py",
    "test_smoke.py",
    "test_page.py",
    "test_watch.py",
    "test_resume_options.py",
    "test_resume.py",
    "test_several_processes.py",
    "test_discover_loop.py",
    "test_calibrate.py",
    "test_recalibrate_twice.py",
    "test_milvus.py",
    "test_page_for_everyone.py",
    "test_export.py",
    "test_stored_features.py",
    "test_folders.py",
    "test_hostile_requests.py",
    "test_class_names.py",
    "test_head_first.py",
    "test_discover_recipes.py",
    "test_stages.py",
    "test_new_versions.py",
    "test_mutants.py",
    "test_json_of_commands.py",
    "test_large_shop.py",
    "test_learn.py",
    "test_disk_full_writers.py",
    "test_fixed_names.py",
)
sys.path.insert(0, str(CHECKOUT / "tests"))
FILES_SHOWN = 40
_seconds_of_file: Counter[str] = Counter()


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
def shop_root() -> Path:
    """The generated shop, made once for all tests of all runners and kept for later runs: it takes 50 s of CPU time.

    `make clean` removes it; another generator, OpenCV or numpy gets a shop of its own.
    """
    from shop_digest import generator_sha256

    from shelfmark.shop import generate_shop, is_complete

    folder = CHECKOUT / ".test_cache"
    root = folder / f"shop_{generator_sha256()[:16]}_{version('opencv-python-headless')}_{version('numpy')}"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "shop.lock"):
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


def pytest_configure(config: pytest.Config) -> None:
    # Files go to the runners in the order of the items, not those with the most tests first: these are fast ones.
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first. Tests marked `gpu` are skipped where there is no GPU; nothing else is."""
    import torch

    place = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="this machine has no CUDA device"))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds_of_file[report.nodeid.partition("::")[0]] += report.duration


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """After a whole run, the files for LONGEST_FIRST."""
    if len(_seconds_of_file) > FILES_SHOWN:
        terminalreporter.section(f"slowest {FILES_SHOWN} files")
        for file, seconds in _seconds_of_file.most_common(FILES_SHOWN):
            terminalreporter.write_line(f"{seconds:6.1f} s  {file}")
