"""Each writer on a disk that takes only a part of a file, or none: an error that names the path, and what stood there
stays."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shelfmark.core.contracts import Embeddings
from shelfmark.core.disk import DiskFullError
from shelfmark.core.embeddings import write_embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.files import atomic_path, write_json
from shelfmark.core.folders import atomic_folder
from shelfmark.core.manifests import write_manifest
from shelfmark.core.parquet import has_pyarrow
from shelfmark.core.strings import Strings
from shelfmark.core.write_errors import NotWritableError, system_error_told
from shelfmark.data.converters.prepared import new_pictures, write_new
from shelfmark.discovery.lander import Lander
from shelfmark.discovery.lander_files import save_lander, write_state
from shelfmark.discovery.whitening import save_whitening
from shelfmark.pipelines.discover.files import ClustersFile, write_arrays
from shelfmark.reports.figures import new_figure, save
from shelfmark.retrieval.index import Index, Records
from shelfmark.retrieval.index_export import export_vectors
from shelfmark.retrieval.index_files import write_index
from shelfmark.retrieval.whitening import PCAWhitening
from shelfmark.shop import generate_shop, writing

LIMIT_BYTES = 1000
ROWS = np.arange(200)
VECTORS = np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32)
NAMES = Strings.of(f"picture {row}" for row in ROWS)


def index(kind: str) -> Index:
    return Index.build(VECTORS, Records(NAMES, ROWS, NAMES), kind=kind)


def fit_state(folder: Path) -> None:
    model = Lander(50, 64)
    write_state(folder / "fit.pt", "key", 1, model, torch.optim.AdamW(model.parameters()))


def figure(folder: Path) -> None:
    drawn = new_figure(4)
    drawn.subplots().plot(VECTORS)
    save(drawn, folder / "plot.png")


def pictures(folder: Path) -> None:
    with new_pictures(folder / "out") as place_for:
        for number in range(3):
            pixels = np.random.default_rng(number).integers(0, 255, size=(40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place_for(folder / "out" / "tea" / f"{number}.png"))


WRITERS: dict[str, Callable[[Path], object]] = {
    "features": lambda folder: write_embeddings(folder / "val", Embeddings(VECTORS, ROWS, NAMES, NAMES)),
    "index flat": lambda folder: write_index(folder / "index", index("flat")),
    "index hnsw": lambda folder: write_index(folder / "index", index("hnsw")),
    "lander": lambda folder: save_lander(folder / "clusterer", Lander(50, 64)),
    "whitening": lambda folder: save_whitening(folder, PCAWhitening(16).fit(torch.from_numpy(VECTORS))),
    "state of a fit": fit_state,
    "clusters": lambda folder: write_arrays(folder / "clusters.npz", ClustersFile(ROWS, ROWS, VECTORS[:, 0])),
    "figure": figure,
    "json": lambda folder: write_json(folder / "a.json", VECTORS),
    "manifest": lambda folder: write_manifest(folder / "manifest.json", {"format_version": 2, "all": VECTORS}),
    "annotations": lambda folder: write_new({folder / "train.json": bytes(9000)}),
    "pictures": pictures,
}
NEW = {
    "export npy": lambda folder: export_vectors(index("flat"), folder / "out", "npy"),
    "export parquet": lambda folder: export_vectors(index("flat"), folder / "out.parquet", "parquet"),
}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


@contextmanager
def little_room() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, before[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", [*WRITERS, *NEW])
def test_a_writer_without_room_says_so_and_leaves_what_stood_there(tmp_path: Path, name: str) -> None:
    if name == "export parquet" and not has_pyarrow():
        pytest.skip("pyarrow is not installed")
    (tmp_path / "notes.txt").write_text("mine")
    if name in WRITERS and name not in ("annotations", "pictures"):
        WRITERS[name](tmp_path)
    before = tree(tmp_path)
    with little_room(), pytest.raises(DiskFullError, match=r"cannot be written: .*[\d,]+ bytes are free") as raised:
        {**WRITERS, **NEW}[name](tmp_path)
    assert ".part" not in str(raised.value)
    assert str(tmp_path) in str(raised.value)
    after = tree(tmp_path)
    # Folders above a path may stay; they hold nothing.
    assert {path: content for path, content in after.items() if path in before or Path(path).is_file()} == before


REFUSALS = {
    "read-only": ("mkdir", errno.EROFS, "the file system is read-only"),
    "not allowed": ("mkdir", errno.EACCES, "permission denied"),
    "broken": ("fsync", errno.EIO, "the disk has an error"),
    "unmounted": ("fsync", errno.ESTALE, "its disk is no longer connected"),
}


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("name", WRITERS)
def test_a_writer_whose_disk_refuses_says_so_in_one_line_and_leaves_what_stood_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, refusal: str
) -> None:
    (tmp_path / "out").mkdir()
    if name not in ("annotations", "pictures"):
        WRITERS[name](tmp_path)
    before = tree(tmp_path)
    function, number, said = REFUSALS[refusal]

    def refuse(about: object, *_: object, **__: object) -> None:
        # As the system's own: fsync knows a descriptor and no name.
        raise OSError(number, os.strerror(number), *([str(about)] if function == "mkdir" else []))

    with monkeypatch.context() as patched:
        patched.setattr(os, function, refuse)
        with pytest.raises(NotWritableError, match=f"cannot be written: {said}; .*[0-9,]+ bytes are free") as raised:
            WRITERS[name](tmp_path)
    told = str(raised.value)
    assert str(tmp_path) in told
    assert ".part" not in told
    assert "\n" not in told
    after = tree(tmp_path)
    assert {path: content for path, content in after.items() if path in before or Path(path).is_file()} == before


def test_a_folder_that_vanishes_under_a_writer_is_told(tmp_path: Path) -> None:
    disk = tmp_path / "disk"

    def unmounted(make: Callable[[Path], AbstractContextManager[Path]], name: str) -> None:
        disk.mkdir()
        with make(disk / name) as place:
            shutil.rmtree(disk)
            (place / "weights" if make is atomic_folder else place).write_text("{}")

    for make, name in ((atomic_path, "a.json"), (atomic_folder, "features")):
        with pytest.raises(NotWritableError, match=f"{name} cannot be written: its folder was moved or removed"):
            unmounted(make, name)


def test_an_error_about_another_file_keeps_its_own_words(tmp_path: Path) -> None:
    def read() -> None:
        with atomic_folder(tmp_path / "out"):
            (tmp_path / "picture.jpg").read_bytes()

    with pytest.raises(FileNotFoundError, match="picture"):
        read()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "x", "/a/b"), "/a/b cannot be written: no space is left on the disk.*Make room"),
        (
            OSError(errno.EDQUOT, "x"),
            "standard output or a temporary file cannot be written: your quota on the disk is used up",
        ),
        (OSError(errno.EIO, "bad block"), "a file cannot be used: bad block. Look at the disk"),
        (OSError(errno.EACCES, "no right", "/a/b"), "/a/b cannot be used: no right"),
        (OSError(errno.EACCES, "x"), None),
        (FileNotFoundError(errno.ENOENT, "x", "/a/b"), None),
        (BrokenPipeError(errno.EPIPE, "x"), None),
    ],
)
def test_what_no_writer_told_is_told_at_the_end_unless_it_is_our_own_mistake(error: OSError, said: str | None) -> None:
    told = system_error_told(error)
    if said is None:
        assert told is None
    else:
        with pytest.raises(UserError, match=said):
            raise told or error


def test_a_shop_without_room_is_not_begun_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_tasks", lambda seed: [("train", 0, 2)])
    with little_room(), pytest.raises(DiskFullError, match="shop cannot be written"):
        generate_shop(tmp_path / "shop", num_workers=1)
    assert list(tmp_path.iterdir()) == []
