"""The files of a discovery run: of which no damaged byte is read in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from damage import flipped_bits

from shelfmark.core.errors import UserError
from shelfmark.core.files import write_json
from shelfmark.discovery.rounds import Selection
from shelfmark.pipelines.discover.files import ClustersFile, RunFiles, SetsFile, write_arrays
from shelfmark.pipelines.discover.manifests import StageManifest, outputs_hash

ROWS = np.arange(7)
SETS = SetsFile("/a.json", "0" * 64, "/", (), (1, 3), (5,), True, {"labelled": 7}, {"labelled": 2}, False)


@pytest.fixture
def run(tmp_path: Path) -> RunFiles:
    files = RunFiles(tmp_path / "run")
    files.write_sets(SETS, {"labelled": ROWS, "unlabelled": ROWS + 7})
    density = ROWS.astype(np.float32)
    write_arrays(files.clusters(0), ClustersFile(ROWS, ROWS % 3, density))
    write_arrays(files.selection(0), Selection(ROWS, ROWS % 2, ROWS % 3, density, np.zeros_like(ROWS)))
    write_json(files.names(0), {"2": "tea"})
    write_json(files.thresholds(0), {"density": 0.5})
    StageManifest(files, 0, "clusters", {"seed": 1}, {}).finish({"clusters.npz": files.clusters(0)})
    selected = [files.selection(0), files.names(0), files.thresholds(0)]
    StageManifest(files, 0, "selection", {"seed": 1}, {}).finish({file.name: file for file in selected})
    return files


def whole(run: RunFiles) -> str:
    """All that is read of the run, in one text."""
    arrays = [*asdict(run.read_clusters(0)).values(), *asdict(run.read_selection(0)).values()]
    arrays += [run.rows("labelled"), run.rows("unlabelled")]
    told = [run.read_sets(), run.read_names(0), run.read_thresholds(0), outputs_hash(run, 0, "clusters")]
    StageManifest(run, 0, "clusters", {"seed": 1}, {}).require_fit()
    return "\n".join([*(str(array.tolist()) for array in arrays), *map(str, told)])


@pytest.mark.parametrize(
    "file_of",
    [
        lambda run: run.sets,
        lambda run: run.folder / "sets.npz",
        lambda run: run.clusters(0),
        lambda run: run.clusters(0).with_name("manifest.json"),
        lambda run: run.selection(0),
        lambda run: run.names(0),
        lambda run: run.thresholds(0),
    ],
)
def test_any_damaged_byte_is_found_or_changes_no_value(run: RunFiles, file_of: Callable[[RunFiles], Path]) -> None:
    file, before = file_of(run), whole(run)
    copies = list(flipped_bits(file.read_bytes(), 60))
    found = 0
    for damaged in copies:
        file.write_bytes(damaged)
        try:
            assert whole(run) == before
        except UserError:
            found += 1
    assert found > 0.6 * len(copies)


def test_a_run_of_version_0_1_0_is_read(run: RunFiles) -> None:
    before = whole(run)
    for file in (run.sets, *run.folder.rglob("manifest.json")):
        told = json.loads(file.read_text())
        kept = {name: value for name, value in told.items() if name not in ("digest", "format_version", "rows")}
        file.write_text(json.dumps(kept))
    assert whole(run) == before
