"""The package faiss, which may be missing: nothing else imports it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

from shelfmark.core.errors import UserError
from shelfmark.core.log import warn


def is_installed() -> bool:
    """Whether faiss can be imported, without importing it."""
    return importlib.util.find_spec("faiss") is not None


def required(need: str, otherwise: str = "") -> Any:
    """faiss, or a UserError where it is missing. need: the error's beginning, as `An index needs`. otherwise: a
    sentence on the way without faiss."""
    if not is_installed():
        raise UserError(f"{need} faiss: pip install faiss-cpu.{otherwise}")
    return module()


@cache
def module() -> Any:
    """faiss, imported at the first call; warns where two packages of it are installed. The module has no types."""
    # Before the import, which may fail with two packages.
    if said := two_packages_installed():
        warn(said)
    import faiss

    return faiss


def two_packages_installed() -> str:
    """As `two_packages`, of the folder that faiss is imported from."""
    found = importlib.util.find_spec("faiss")
    return "" if found is None or found.origin is None else two_packages(Path(found.origin).parents[1])


def two_packages(folder: Path) -> str:
    """The advice for a folder in which more than one package brings the module faiss; "" for any other.

    Read from the names of the folders that installers leave, <name>-<version>.dist-info: no file is opened.
    """
    found = sorted(
        (name.replace("_", "-"), version)
        for info in folder.glob("faiss_[cg]pu*.dist-info")
        for name, _, version in [info.name.removesuffix(".dist-info").partition("-")]
    )
    if len(found) < 2:
        return ""
    told = " and ".join(f"{name} {version}" for name, version in found)
    return (
        f"{told} are installed together in {folder}. Each brings the module faiss, and the one installed last has"
        f" overwritten files of the other. Remove them all with `pip uninstall {' '.join(name for name, _ in found)}`,"
        " then install the one you want, for example with `pip install faiss-cpu`."
    )


@contextmanager
def torch_threads() -> Iterator[None]:
    """Lets faiss take as many threads as torch."""
    faiss = module()
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(torch.get_num_threads())
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
