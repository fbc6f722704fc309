"""Whether two commits train alike: every recipe of configs/ runs small with both, and what it leaves is compared.

    python benchmarks/compare_commits.py OLD [NEW] [--recipes GLOB] [--keep DIR] [--jobs N]

Compared are metrics.jsonl and summary.json, in the fields that both have and without times, and every tensor of
best_model and last, bit for bit (run_difference.py). One row a recipe. Exit status: 0 all the same, 3 where something
differs or failed, 2 where the input is wrong.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from measuring import version_of
from run_difference import compare_runs

from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json, write_json

ROOT = Path(__file__).parents[1]
# What a run reads of a checkout.
PARTS = ("lib", "configs", "main.py")
LIMIT_S = 1800
# On a CPU `auto` is decided by a trial, in newer commits.
PRECISION = "fp32"
TOLD_LINES = 3
SAME, DIFFERS = 0, 3


@dataclass(frozen=True)
class Side:
    """name: shown, and that of its folder. source: its code. work: its runs. is_kept: finished runs are taken over."""

    name: str
    source: Path
    work: Path
    is_kept: bool

    def recipes(self) -> list[str]:
        """Names such as longtail/ride of all configs that are recipes."""
        folder = self.source / "configs"
        files = (file.relative_to(folder).with_suffix("") for file in folder.rglob("*.yaml"))
        return sorted(file.as_posix() for file in files if "base" not in file.name)


@dataclass(frozen=True)
class Outcome:
    """logs: the folder of its runs. status: 0, or that of the failed command. told: the last lines that it printed."""

    logs: Path
    status: int
    told: str


def main(words: Sequence[str] | None = None) -> int:
    options = _parsed(words)
    with _sides(options) as (old, new):
        names = _chosen([old, new], options.recipes)
        outcomes = {side: _run_all(side, names, options.jobs) for side in (old, new)}
        rows = [verdict(outcomes[old].get(name), outcomes[new].get(name)) for name in names]
    width = max(len(name) for name in names)
    print(f"\n{old.name} -> {new.name}")
    for name, (_, said) in zip(names, rows):
        print(f"  {name:{width}}  {said}")
    num_same = sum(status == SAME for status, _ in rows)
    print(f"{num_same} of {len(rows)} without a difference")
    return SAME if num_same == len(rows) else DIFFERS


def verdict(old: Outcome | None, new: Outcome | None) -> tuple[int, str]:
    """SAME or DIFFERS, and the row's text. None: the commit has no such recipe."""
    failed = [
        f"{side} (status {one.status}): {one.told}" for side, one in (("old", old), ("new", new)) if one and one.status
    ]
    if failed:
        return DIFFERS, ("FAILS IN BOTH  " if len(failed) == 2 else "FAILS  ") + "  |  ".join(failed)
    if new is None:
        return DIFFERS, "IS MISSING  the new commit has no such recipe"
    if old is None:
        return SAME, "runs  (only new: nothing to compare with)"
    found = compare_runs(old.logs, new.logs)
    if found.difference:
        return DIFFERS, f"DIFFERS  {found.difference}"
    return SAME, "  ".join(["same", *(f"({note})" for note in found.notes)])


def _run_all(side: Side, names: Sequence[str], jobs: int) -> dict[str, Outcome]:
    """Runs the recipes that the side has, `jobs` at a time."""
    present = [name for name in side.recipes() if name in names]
    began = time.perf_counter()
    with ThreadPoolExecutor(jobs) as pool:
        # The pictures come first: two recipes at a time would both make them.
        _require_pictures(side)
        try:
            outcomes = dict(zip(present, pool.map(lambda name: _run(side, name), present)))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    print(f"{side.name}: {len(present)} recipes, {time.perf_counter() - began:.0f} s", flush=True)
    return outcomes


def _run(side: Side, name: str) -> Outcome:
    """Runs one recipe in a folder of its own, unless the same run is there already and went well."""
    place = side.work / name
    done, said = place / "done.json", place / "said.txt"
    packages = {one: version_of(one) for one in ("torch", "timm", "numpy")}
    wanted = {"recipe": name, "packages": packages, "threads": 1, "precision": PRECISION}
    if not (side.is_kept and done.is_file() and read_json(done)["run"] == wanted):
        shutil.rmtree(place, ignore_errors=True)
        (place / "dataset").mkdir(parents=True)
        (place / "dataset" / "shop").symlink_to(_shop(side))
        (place / "configs").symlink_to(side.source / "configs")
        began = time.perf_counter()
        words = ["--config", f"configs/{name}.yaml", "--smoke", f"train.precision={PRECISION}"]
        status = _call(side, [*_command(side, name), *words], place, said)
        seconds = time.perf_counter() - began
        print(f"  {side.name}  {name}: {f'status {status}, ' if status else ''}{seconds:.1f} s", flush=True)
        (place / "configs").unlink()
        if status:
            return Outcome(place / "log", status, _last_lines(said))
        write_json(done, {"run": wanted, "seconds": round(seconds, 1)})
    return Outcome(place / "log", 0, "")


def _command(side: Side, name: str) -> list[str]:
    return ["-m", "shelfmark", "discover"] if name.startswith("discovery/") else [str(side.source / "main.py")]


def _require_pictures(side: Side) -> None:
    said = side.work / "shop.txt"
    if status := _call(side, ["-m", "shelfmark", "prepare", "shop", "--out", str(_shop(side))], side.work, said):
        raise UserError(f"{side.name} cannot make the shop in {_shop(side)} (status {status}): {_last_lines(said)}")


def _shop(side: Side) -> Path:
    """Both sides have the same pictures, made by the old one."""
    return side.work.parent / "shop"


def _call(side: Side, words: Sequence[str], folder: Path, said: Path) -> int:
    """The status of `python WORDS` with the side's code, on one thread; 124 where it took too long."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(side.source / "lib"),
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
        "CUDA_VISIBLE_DEVICES": "",
    }
    with open(said, "w", encoding="utf-8") as stream:
        try:
            return subprocess.run(
                [sys.executable, *words],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                timeout=LIMIT_S,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return 124


def _last_lines(said: Path) -> str:
    lines = [line.strip() for line in said.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-TOLD_LINES:])


def _chosen(sides: Sequence[Side], pattern: str) -> list[str]:
    names = sorted({name for side in sides for name in side.recipes()})
    chosen = [name for name in names if fnmatch.fnmatch(name, pattern)]
    if not chosen:
        raise UserError(f"--recipes {pattern!r} names no recipe; there are: {', '.join(names)}.")
    return chosen


@contextmanager
def _sides(options: argparse.Namespace) -> Iterator[tuple[Side, Side]]:
    """Both commits' code, in a folder that is gone afterwards. A commit beside itself runs twice."""
    old = _commit(options.old)
    new = _commit("HEAD" if options.new is None else options.new)
    is_as_edited = options.new is None and bool(_git("status", "--porcelain", "--", *PARTS).strip())
    with tempfile.TemporaryDirectory(prefix="compare_commits_") as made:
        kept = Path(made, "runs") if options.keep is None else options.keep.resolve()
        names = [old[:12], "as_edited" if is_as_edited else new[:12] + "_again" * (new == old)]
        sources = [_unpacked(old, Path(made, "old")), ROOT if is_as_edited else _unpacked(new, Path(made, "new"))]
        sides = [Side(name, source, kept / name, name != "as_edited") for name, source in zip(names, sources)]
        for side in sides:
            side.work.mkdir(parents=True, exist_ok=True)
        yield sides[0], sides[1]


def _commit(revision: str) -> str:
    try:
        return _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").strip()
    except subprocess.CalledProcessError:
        raise UserError(f"{revision!r} is not a commit of {ROOT}; `git log --oneline` lists them.") from None


def _unpacked(commit: str, folder: Path) -> Path:
    """A commit's code, out of an archive: a git worktree would stay in the repository's list if this were killed."""
    folder.mkdir()
    archive = folder.with_suffix(".tar")
    _git("archive", "--format=tar", f"--output={archive}", commit, *PARTS)
    shutil.unpack_archive(archive, folder, filter="data")
    return folder


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def _parsed(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="run every recipe small with two commits and compare what they leave")
    parser.add_argument("old", metavar="OLD", help="a commit, a tag or a branch")
    parser.add_argument("new", metavar="NEW", nargs="?", help="likewise (default: the checkout as it stands)")
    parser.add_argument("--recipes", metavar="GLOB", default="*", help="only these, as in 'longtail/*' (default: all)")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep the runs here, and take over what a commit finished here before"
    )
    parser.add_argument("--jobs", type=int, default=1, help="recipes at a time, of one thread each (default: 1)")
    options = parser.parse_args(words)
    if options.jobs < 1:
        parser.error(f"--jobs {options.jobs}: give 1 or above")
    return options


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
