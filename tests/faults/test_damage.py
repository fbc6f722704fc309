"""One byte changed anywhere in what is stored: it is found, or what is read is what was written."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import saves
from equality import unequal
from trials import trials
from warm import Warm

from shelfmark.core.embeddings import read_embeddings
from shelfmark.core.errors import UserError
from shelfmark.engine.checkpoint import load_checkpoint
from shelfmark.retrieval.index_files import read_index

pytestmark = [pytest.mark.slow, pytest.mark.faults]


def _checkpoint(folder: Path) -> Any:
    loaded = load_checkpoint(folder)
    return loaded.manifest, loaded.read_model(), loaded.read_state()


def _features(folder: Path) -> Any:
    read = read_embeddings(folder)
    texts = [list(read.image_ids), list(read.paths)]
    return read.manifest, np.array(read.features), np.array(read.labels), np.array(read.rows), texts


def _index(folder: Path) -> Any:
    read = read_index(folder)
    records = read.records
    said = [read.layout, read.dim, read.facts, dict(records.names)]
    return said, read.vectors(), np.array(records.labels), read.store.ids, list(records.ids), list(records.paths)


READERS = {"checkpoint": ("last", _checkpoint), "features": ("features", _features), "index": ("index", _index)}
FILES = {
    "checkpoint": ("manifest.json", "model.safetensors", "state.pt"),
    "features": ("manifest.json", "features.npy", "rows.npz"),
    "index": ("manifest.json", "index.faiss", "rows.npz"),
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whole folder of each kind."""
    folder = tmp_path_factory.mktemp("stored")
    for name in READERS:
        saves.SAVES[name].write(folder, 1)
    return folder


def test_every_file_that_is_stored_is_damaged_below(stored: Path) -> None:
    for name, (folder, _) in READERS.items():
        assert {path.name for path in (stored / folder).iterdir()} == set(FILES[name])


@pytest.mark.parametrize(("name", "file"), [(name, file) for name in FILES for file in FILES[name]])
def test_a_changed_byte_is_found_or_changes_nothing(stored: Path, tmp_path: Path, tally, name: str, file: str) -> None:
    title = f"damages of {file} of {'an' if name == 'index' else 'a'} {name} that were found or changed nothing"
    folder, read = READERS[name]
    written = read(stored / folder)
    failures = []
    for seed in trials(60):
        tally.tried(title)
        damaged = shutil.copytree(stored / folder, tmp_path / "damaged" / folder)
        what = _change_a_byte(damaged / file, random.Random(f"damage {file} {seed}"))
        try:
            found = unequal(read(damaged), written, "")
            kept = {"unchanged": 1}
        except UserError as error:
            found, kept = [] if str(damaged) in str(error) else [f"the error names no file: {error}"], {"found": 1}
        except Exception as error:
            found, kept = [f"{type(error).__name__}: {error}"], {}
        if found:
            failures.append(f"{what}: {found[0]}")
        else:
            tally.held(title, **kept)
        shutil.rmtree(tmp_path / "damaged")
    assert not failures, f"{len(failures)} of {len(trials(60))}:\n" + "\n".join(failures)


def _change_a_byte(file: Path, chance: random.Random) -> str:
    content = bytearray(file.read_bytes())
    at, change = chance.randrange(len(content)), chance.randint(1, 255)
    content[at] ^= change
    file.write_bytes(content)
    return f"byte {at} of {len(content)} xor {change}"


@pytest.mark.parametrize(("name", "words"), [("index", ["index", "info", "--index", "damaged/index"])])
def test_a_command_ends_with_2_and_without_a_traceback(
    warm: Warm, stored: Path, tmp_path: Path, name: str, words: list[str]
) -> None:
    for file in FILES[name]:
        place = tmp_path / f"of_{file}"
        damaged = shutil.copytree(stored / READERS[name][0], place / "damaged" / READERS[name][0])
        content = (damaged / file).read_bytes()
        (damaged / file).write_bytes(content[: len(content) // 2])
        program = warm.shelfmark(words, place)
        assert program.wait() == 2, program.printed()
        assert "error: " in program.printed()
        assert "Traceback" not in program.printed()
