"""The library's writers of folders and files, each with a small content that tells its version, and with its reader.

Every file holds the version, so that a mixture of two is found. A writer's result is named after it in the folder.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import read_embeddings, write_embeddings
from shelfmark.core.files import read_json, write_json
from shelfmark.core.strings import Strings
from shelfmark.engine.checkpoint import copy_checkpoint, load_checkpoint, save_checkpoint
from shelfmark.engine.checkpoint_folder import previous_of
from shelfmark.retrieval.index import Index, Records
from shelfmark.retrieval.index_files import read_index, write_index

NUM_ROWS, DIM = 40, 8
_PR_SET_PTRACER, _ANY = 0x59616D61, -1


@dataclass(frozen=True)
class Save:
    """write: (folder, version). read: the version of what the folder holds; an error of the reader is handed on.

    leaves: the names that stand in the folder after a first save.
    """

    write: Callable[[Path, int], None]
    read: Callable[[Path], int]
    leaves: frozenset[str]


def stopped(name: str, folder: str, version: int) -> None:
    """Stops itself just before it saves, so that strace can be attached and counts the calls of the save alone."""
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANY, 0, 0, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    write_and_end(name, folder, version)


def write_and_end(name: str, folder: str, version: int) -> None:
    """One save, and the end of the process, without what Python tidies: that takes longer than all the rest."""
    SAVES[name].write(Path(folder), version)
    os._exit(0)


def _write_checkpoint(folder: Path, version: int) -> None:
    model = {f"layer{number}.weight": torch.full((64, 32), float(version)) for number in range(3)}
    state = {"optimizer": {"buffers": [torch.full((64, 32), float(version))]}, "progress": {"step": version}}
    facts = {"step": version, "epoch": version, "best_epoch": None, "config": {"name": "x"}, "counts": [version] * 4}
    save_checkpoint(folder / "last", model, state, facts, previous_of(folder / "last"))


def _read_checkpoint(folder: Path, name: str = "last") -> int:
    loaded = load_checkpoint(folder / name)
    state = loaded.read_state()
    versions = {loaded.manifest["step"], state["progress"]["step"], *loaded.manifest["counts"]}
    tensors = [*loaded.read_model().values(), *state["optimizer"]["buffers"]]
    return _only(versions | {int(value) for tensor in tensors for value in tensor.unique()})


def _write_best(folder: Path, version: int) -> None:
    _write_checkpoint(folder, version)
    copy_checkpoint(folder / "last", folder / "best_model")


def _read_best(folder: Path) -> int:
    return _read_checkpoint(folder, "best_model")


def _write_features(folder: Path, version: int) -> None:
    texts = Strings.of(f"{version}/{row}.jpg" for row in range(NUM_ROWS))
    labels = np.full(NUM_ROWS, version, np.int64)
    vectors = np.full((NUM_ROWS, DIM), version, np.float32)
    write_embeddings(folder / "features", Embeddings(vectors, labels, texts, texts, {"version": version}))


def _read_features(folder: Path) -> int:
    read = read_embeddings(folder / "features")
    values = {int(value) for value in np.unique(read.features)} | {int(value) for value in read.labels}
    return _only(values | {int(path.split("/")[0]) for path in read.paths} | {read.manifest["version"]})


def _write_index(folder: Path, version: int) -> None:
    texts = Strings.of(f"{version}/{row}" for row in range(NUM_ROWS))
    vectors = np.full((NUM_ROWS, DIM), version, np.float32)
    records = Records(texts, np.full(NUM_ROWS, version, np.int64), texts, {version: str(version)})
    built = Index.build(vectors, records, kind="flat", metric="dot", facts={"version": version})
    write_index(folder / "index", built)


def _read_index(folder: Path) -> int:
    read = read_index(folder / "index")
    values = {int(value) for value in np.unique(read.vectors())} | {int(value) for value in read.records.labels}
    return _only(values | {int(path.split("/")[0]) for path in read.records.paths} | {read.facts["version"]})


def _write_file(folder: Path, version: int) -> None:
    write_json(folder / "file.json", {"version": version, "values": [version] * 9000})


def _read_file(folder: Path) -> int:
    read = read_json(folder / "file.json")
    return _only({read["version"], *read["values"]})


def _only(versions: set[int]) -> int:
    assert len(versions) == 1, f"a mixture of versions: {versions}"
    return versions.pop()


SAVES = {
    "checkpoint": Save(_write_checkpoint, _read_checkpoint, frozenset({"last"})),
    "best model": Save(_write_best, _read_best, frozenset({"last", "best_model"})),
    "features": Save(_write_features, _read_features, frozenset({"features"})),
    "index": Save(_write_index, _read_index, frozenset({"index"})),
    "file": Save(_write_file, _read_file, frozenset({"file.json"})),
}
