"""The disk fills while a command writes: it says so, what stood before is whole, and nothing half-written is left."""

from __future__ import annotations

import filecmp
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from equality import differences
from runs import Place
from small_disk import Disk, mounted
from trials import some
from warm import Warm
from writers import WRITERS, Writer, furnish

from shelfmark.core.errors import UserError
from shelfmark.engine.checkpoint import load_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.faults]
TITLE = "full disks that were told, with all that stood there whole and no litter"
FRACTIONS = (0.0, 0.15, 0.35, 0.55, 0.75, 0.9)
TOLD = re.compile(r"error: .*?(\S+) cannot be written: .*?([\d,]+) bytes are needed.*?([\d,]+) bytes are free")
REPLACED = ("tensorboard/", "last/", "best_model/", ".last.previous/", "metrics.jsonl")
SAME_SIZE_WITHIN = 64


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    root = tmp_path_factory.mktemp("small") / "disk"
    root.mkdir()
    try:
        with mounted(root) as small:
            yield small
    except OSError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def furnished(warm: Warm, shop_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place.new(tmp_path_factory.mktemp("furnished") / "place", shop_root)
    furnish(place, warm, shop_root)
    return place


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_told_and_harms_nothing(
    warm: Warm, disk: Disk, furnished: Place, tmp_path: Path, tally, name: str
) -> None:
    writer = WRITERS[name]
    base = _laid_out(furnished.folder, tmp_path / "place")
    for words in writer.before:
        _must_succeed(warm, words, base)
    complete, growth = _undisturbed(warm, disk, writer, base, tmp_path / "complete")
    failures = []
    for fraction in some(FRACTIONS):
        tally.tried(TITLE)
        folder = _laid_out(base, disk.root / "place")
        disk.leave(int(growth * fraction))
        program = warm.shelfmark(writer.words, folder)
        status, printed = program.wait(), program.printed()
        disk.clear()
        wrong = _wrong(writer, status, printed, must_fail=fraction == 0) or _harm(writer, folder, base, complete)
        wrong = wrong or _wrong_afterwards(warm, writer, folder, complete, is_whole=status == 0)
        if wrong is None:
            tally.held(TITLE, **{"told" if status else "found room": 1})
        else:
            failures.append(f"{fraction:.0%} of {growth:,} bytes free: {wrong}")
        shutil.rmtree(folder)
    assert not failures, "\n".join(failures)


def _laid_out(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target, symlinks=True))


def _must_succeed(warm: Warm, words: tuple[str, ...], folder: Path) -> None:
    program = warm.shelfmark(words, folder)
    assert program.wait() == 0, f"{' '.join(words)}:\n{program.printed()[-3000:]}"


def _undisturbed(warm: Warm, disk: Disk, writer: Writer, base: Path, complete: Path) -> tuple[Path, int]:
    """A copy of what the command leaves where there is room, and by how many bytes it fills the disk."""
    folder = _laid_out(base, disk.root / "place")
    before = disk.free()
    _must_succeed(warm, writer.words, folder)
    growth = before - disk.free()
    # A run that goes on may fill no more than before, and still has to have room for its next checkpoint.
    growth = max(growth, 1 << 20) if writer.goes_on else growth
    _laid_out(folder, complete)
    shutil.rmtree(folder)
    return complete, growth


def _wrong(writer: Writer, status: int, printed: str, must_fail: bool) -> str | None:
    if status == 0 and not must_fail:
        return None
    if status != 2 or "Traceback" in printed:
        return f"exit status {status}; {_last_lines(printed)}"
    told = TOLD.search(printed)
    if told is None:
        return f"the error does not name path, needed and free bytes: {_last_lines(printed)}"
    needed, free = (int(number.replace(",", "")) for number in told.groups()[1:])
    return None if needed > 0 and free < needed else f"{needed} bytes needed, {free} free"


def _last_lines(printed: str) -> str:
    return " | ".join(printed.strip().splitlines()[-2:])[-300:]


def _harm(writer: Writer, folder: Path, base: Path, complete: Path) -> str | None:
    """What is lost, changed or left over, if anything."""
    stood, stands = _files(base), _files(folder)
    for name in sorted(stood):
        # With room, too, the command may put a newer one in its place.
        replaced = writer.goes_on and any(one in name for one in REPLACED)
        replaced = replaced or (name in stands and not _is_same(base / name, complete / name))
        if not replaced and (name not in stands or not filecmp.cmp(base / name, folder / name, shallow=False)):
            return f"{name}, which stood there before, is gone or changed"
    whole = _files(complete)
    for name in sorted(stands - stood):
        if name not in whole and not _comes_and_goes(name):
            return f"litter: {name}"
        if name in whole and not _comes_and_goes(name) and not _as_large(folder / name, complete / name):
            return f"cut off: {name}"
    return _unreadable(folder)


def _files(folder: Path) -> set[str]:
    # Links are the shop's and the recipes'.
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


def _comes_and_goes(name: str) -> bool:
    """Files of a run in progress, and those whose size is of the moment; checkpoints vouch for themselves."""
    return any(one in name for one in (*REPLACED, "environment", "config", "begun.json"))


def _is_same(ours: Path, theirs: Path) -> bool:
    return theirs.is_file() and filecmp.cmp(ours, theirs, shallow=False)


def _as_large(ours: Path, theirs: Path) -> bool:
    return abs(ours.stat().st_size - theirs.stat().st_size) <= SAME_SIZE_WITHIN


def _unreadable(folder: Path) -> str | None:
    """Every checkpoint under the folder is whole."""
    for manifest in folder.rglob("manifest.json"):
        if (manifest.parent / "model.safetensors").exists() or manifest.parent.name in ("last", "best_model"):
            try:
                load_checkpoint(manifest.parent).require_whole()
                json.loads(manifest.read_text())
            except UserError as error:
                return f"{manifest.parent.relative_to(folder)} is damaged: {error}"
    return None


def _wrong_afterwards(warm: Warm, writer: Writer, folder: Path, complete: Path, is_whole: bool) -> str | None:
    """With room again, the same command does its work."""
    if is_whole:
        return None
    program = warm.shelfmark(writer.words, folder)
    if program.wait() != 0:
        return f"with room again it ends with {program.poll()}; {_last_lines(program.printed())}"
    if writer.goes_on and (found := differences(folder / "log" / "z", complete / "log" / "z")):
        return f"with room again it ends with other digits: {found[0]}"
    return None
