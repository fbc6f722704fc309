"""Each system call of a save as the moment of death: a reader finds the whole new or the whole former, and no litter
outlives the next save."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import tracing
from saves import SAVES
from trials import some
from warm import Warm

from shelfmark.core.errors import UserError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.faults,
    pytest.mark.skipif(tracing.why_not() is not None, reason=str(tracing.why_not())),
]


def _saved(warm: Warm, name: str, folder: Path, *versions: int) -> Path:
    folder.mkdir(exist_ok=True)
    for version in versions:
        program = warm.start("saves:write_and_end", name, str(folder), version, folder=folder)
        assert program.wait() == 0, program.printed()
    return folder


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("former", [(), (1,), (1, 2)], ids=["the first save", "the second save", "the third save"])
@pytest.mark.parametrize("name", SAVES)
def test_death_at_any_call_of_a_save_leaves_a_whole_one(
    warm: Warm, tmp_path: Path, tally, name: str, former: tuple[int, ...]
) -> None:
    save, title = SAVES[name], f"crash points of the {name} that left a whole one and no litter"
    before = _saved(warm, name, tmp_path / "before", *former)
    undisturbed = shutil.copytree(before, tmp_path / "undisturbed")
    new = len(former) + 1
    deaths = tracing.points(tracing.calls(warm, name, undisturbed, new))
    assert len(deaths) > 3
    clean = _names(_saved(warm, name, undisturbed, new + 1))
    failures = []
    for point in some(deaths):
        tally.tried(title)
        folder = shutil.copytree(before, tmp_path / "folder")
        tracing.die_at(point, warm, name, folder, new)
        failure = _after_death(warm, name, folder, {*former[-1:], new}, is_first=not former)
        if failure is None and (litter := _names(folder) - clean):
            failure = f"litter after the next save: {litter}"
        if failure is None and (lost := (_names(before) | save.leaves) - _names(folder)):
            failure = f"lost: {lost}"
        if failure is None:
            tally.held(title)
        else:
            failures.append(f"{point}: {failure}")
        shutil.rmtree(folder)
    assert not failures, "\n".join(failures)
    assert save.leaves <= clean


def _after_death(warm: Warm, name: str, folder: Path, allowed: set[int], is_first: bool) -> str | None:
    """What is wrong once a save was killed, if anything: of the first read, of the next save, of the read after it."""
    try:
        found = SAVES[name].read(folder)
        if found not in allowed:
            return f"version {found} is there, not one of {allowed}"
    except UserError as error:
        if not is_first:
            return f"not readable: {error}"
    newer = max(allowed) + 1
    program = warm.start("saves:write_and_end", name, str(folder), newer, folder=folder)
    if program.wait() != 0:
        return f"the next save failed: {program.printed()[-500:]}"
    found = SAVES[name].read(folder)
    return None if found == newer else f"version {found} is there after the next save"


@pytest.mark.parametrize("name", SAVES)
def test_what_takes_its_place_is_on_the_disk_before_and_the_place_after(
    warm: Warm, tmp_path: Path, tally, name: str
) -> None:
    title = "writers that sync files and folder before the rename, and the parent after it"
    tally.tried(title)
    folder = _saved(warm, name, tmp_path / "folder", 1)
    lines = tracing.calls(warm, name, folder, 2)
    for final in sorted(SAVES[name].leaves):
        _require_synced(lines, folder / final)
    tally.held(title)


def _require_synced(lines: list[str], final: Path) -> None:
    renames = [at for at, line in enumerate(lines) if " rename" in line and f'{final}"' in line]
    assert renames, f"nothing is renamed to {final}:\n" + "\n".join(lines)
    # The last word of the rename that brings the new one: its other path is where it was written.
    taken = renames[-1]
    work = next(Path(path) for path in re.findall(r'"([^"]+)"', lines[taken]) if Path(path) != final)
    synced = [re.search(r"fsync\(\d+<([^>]+)>", line) for line in lines]
    before = {Path(match[1]) for match in synced[:taken] if match}
    after = {Path(match[1]) for match in synced[taken:] if match}
    payload = {work / path.name for path in final.iterdir()} | {work} if final.is_dir() else {work}
    assert payload <= before, f"not synced before the rename: {sorted(map(str, payload - before))}"
    assert final.parent in after, f"{final.parent} is not synced after the rename"
