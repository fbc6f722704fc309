"""Two packages that bring the module faiss overwrite each other: that is said once, at the import."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shelfmark.retrieval import faiss_module

BOTH = ("faiss_cpu-1.9.0", "faiss_gpu_cu12-1.11.0.post1")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages, the first that Python looks into, with a faiss of its own."""
    (tmp_path / "faiss").mkdir()
    (tmp_path / "faiss" / "__init__.py").write_text("METRIC_L2 = 'from here'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    importlib.invalidate_caches()
    faiss_module.module.cache_clear()
    yield tmp_path
    faiss_module.module.cache_clear()
    # Not the one that monkeypatch puts back.
    sys.modules.pop("faiss", None)


def install(folder: Path, *names: str) -> None:
    for name in names:
        (folder / f"{name}.dist-info").mkdir()


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("faiss_cpu-1.9.0",),
        ("faiss_gpu_cu12-1.11.0",),
        ("faiss_cpu-1.9.0", "faiss_lite-1.0", "sqlite_faiss_gpu-1.0"),
    ],
)
def test_one_faiss_is_nothing_to_speak_of(
    packages: Path, names: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    install(packages, *names)
    assert faiss_module.module().METRIC_L2 == "from here"
    assert not caplog.text


@pytest.mark.parametrize("gpu", ["faiss_gpu-1.7.2", "faiss_gpu_cu11-1.10.0", "faiss_gpu_cuvs-1.9"])
def test_any_faiss_gpu_beside_faiss_cpu_is_told(packages: Path, gpu: str) -> None:
    install(packages, "faiss_cpu-1.9.0", gpu)
    name, _, version = gpu.replace("_", "-").rpartition("-")
    assert f"faiss-cpu 1.9.0 and {name} {version} are installed together" in faiss_module.two_packages(packages)


def test_both_are_told_once_with_the_way_out(packages: Path, caplog: pytest.LogCaptureFixture) -> None:
    install(packages, *BOTH)
    assert faiss_module.module() is faiss_module.module()
    [record] = caplog.records
    assert record.levelname == "WARNING"
    for words in (
        "faiss-cpu 1.9.0 and faiss-gpu-cu12 1.11.0.post1 are installed together",
        str(packages),
        "`pip uninstall faiss-cpu faiss-gpu-cu12`",
        "`pip install faiss-cpu`",
    ):
        assert words in record.getMessage()


def test_a_mixture_that_cannot_be_imported_is_told_before_it_fails(
    packages: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install(packages, *BOTH)
    (packages / "faiss" / "__init__.py").write_text("raise ImportError('undefined symbol')\n")
    with pytest.raises(ImportError, match="undefined symbol"):
        faiss_module.module()
    assert "are installed together" in caplog.text
