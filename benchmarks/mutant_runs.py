"""Tries mutants: the tests that reach the broken line, the cheapest first, until one fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from mutant_checkout import checked_out
from mutant_places import Found, Places, broken
from mutant_reach import Chosen, Reach, environment_of, is_recorded, record
from mutant_watch import Watch

from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json, write_json

CAUGHT, HUNG, SURVIVED, GONE = "caught", "caught by time-out", "survived", "gone"
NO_TESTS = 5


@dataclass(frozen=True)
class House:
    """A copy of the commit's files that one mutant at a time has. scratch: a folder for its run."""

    root: Path
    package: Path
    scratch: Path


@dataclass(frozen=True)
class Ran:
    """status: CAUGHT, HUNG or SURVIVED. test: the one that caught it. said: its error. num_run: tests that ended.

    seconds: CPU time of all processes, without those whose parents did not wait for them.
    """

    status: str
    num_run: int
    test: str = ""
    said: str = ""
    seconds: float = 0.0


def run_all(
    commit: str, package: Path, mutants: Sequence[Mapping[str, Any]], out: Path, jobs: int, budget_s: float
) -> None:
    """Appends a line of JSON a mutant to out/results.jsonl; those that are settled there are not tried again.

    budget_s: the tests that one mutant runs cost this much at most, in CPU seconds as measured under coverage.
    """
    _claim(out, commit)
    with tempfile.TemporaryDirectory(prefix="mutants_", ignore_cleanup_errors=True) as made:
        first = checked_out(commit, Path(made, "1"))
        if not is_recorded(out / "reach"):
            print(f"what each test reaches: {out / 'reach' / 'said.txt'}", flush=True)
            record(first, package, out / "reach", jobs)
        reach, places = Reach(out / "reach", package), Places(first / package)
        if reach.failed:
            print(f"fail in the unbroken code and are left out: {', '.join(reach.failed)}", flush=True)
        results = out / "results.jsonl"
        done = {number for number, line in results_of(out).items() if _is_settled(line, budget_s)}
        houses: SimpleQueue[House] = SimpleQueue()
        for house in _houses(first, package, jobs):
            houses.put(house)
        lock = threading.Lock()

        def work(mutant: Mapping[str, Any]) -> None:
            house = houses.get()
            line = try_one(mutant, places.find(mutant), reach, house, budget_s)
            houses.put(house)
            with lock, open(results, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
                print(" ".join(f"{line[name]}" for name in ("id", "status", "test") if name in line), flush=True)

        with ThreadPoolExecutor(jobs) as pool:
            try:
                list(pool.map(work, [one for one in mutants if one["id"] not in done]))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def results_of(out: Path) -> dict[int, dict[str, Any]]:
    """The last line of each mutant, by its id."""
    file = out / "results.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return {line["id"]: line for line in map(json.loads, lines)}


def _is_settled(line: Mapping[str, Any], budget_s: float) -> bool:
    """Whether more time would not change it: with a greater budget, more tests may run of those that reach it."""
    return line["status"] != SURVIVED or line["num_chosen"] == line["num_reaching"] or line["budget_s"] >= budget_s


def try_one(
    mutant: Mapping[str, Any], found: Found | None, reach: Reach, house: House, budget_s: float
) -> dict[str, Any]:
    """The line of results: what was broken where, which tests ran, and whether one failed."""
    if found is None:
        return {"id": mutant["id"], "status": GONE}
    chosen = reach.tests_of(found.place, budget_s)
    file = house.root / house.package / found.place.module
    source = file.read_text(encoding="utf-8")
    file.write_text(broken(source, found.place.statement, found.after), encoding="utf-8")
    try:
        ran = run_tests(house, chosen) if chosen.tests else Ran(SURVIVED, 0)
    finally:
        file.write_text(source, encoding="utf-8")
    return {
        "id": mutant["id"],
        "status": ran.status,
        "place": f"{found.place.module}:{found.place.lines[0]}",
        "found": found.how,
        "test": ran.test,
        "said": ran.said,
        "reached_by": chosen.how,
        "num_reaching": chosen.num_reaching,
        "num_chosen": len(chosen.tests),
        "num_run": ran.num_run,
        "seconds": ran.seconds,
        "budget_s": budget_s,
    }


def run_tests(house: House, chosen: Chosen) -> Ran:
    """Runs the tests in their order until one fails or hangs."""
    shutil.rmtree(house.scratch, ignore_errors=True)
    house.scratch.mkdir()
    listed, notes, said = (house.scratch / name for name in ("listed.json", "notes.jsonl", "said.txt"))
    write_json(listed, [test.name for test in chosen.tests])
    notes.touch()
    words = ["-q", "-x", "-p", "no:cacheprovider", "-p", "mutant_plugin", f"--basetemp={house.scratch / 'tmp'}"]
    words += [f"--listed-tests={listed}", f"--note-tests={notes}"]
    words += list(dict.fromkeys(test.file for test in chosen.tests))
    with open(said, "w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            ["nice", "-n", "10", sys.executable, "-m", "pytest", *words],
            cwd=house.root,
            env=environment_of(house.root, house.package),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
        watch = Watch(process, notes, {test.name: test.cost for test in chosen.tests})
        try:
            watch.wait()
        finally:
            watch.end()
    return _verdict(watch, said.read_text(encoding="utf-8", errors="replace"))


def _verdict(watch: Watch, said: str) -> Ran:
    events = watch.events()
    seconds = round(watch.cpu_s, 1)
    num_run = sum(event["event"] == "finished" for event in events)
    failed = [event for event in events if event["event"] == "failed"]
    if failed:
        return Ran(CAUGHT, num_run, failed[0]["test"], failed[0]["said"], seconds)
    if watch.hung:
        return Ran(HUNG, num_run, watch.test, watch.hung, seconds)
    status = watch.process.returncode
    if status in (0, NO_TESTS):
        return Ran(SURVIVED, num_run, said="" if status == 0 else "none of the tests is there", seconds=seconds)
    # Before or between tests: a broken import, or the process died.
    last_words = "".join(said.strip().splitlines()[-1:])
    return Ran(CAUGHT, num_run, said=f"status {status}: {last_words}"[:200], seconds=seconds)


def _houses(first: Path, package: Path, jobs: int) -> list[House]:
    """The first checkout and copies of it, each beside the shared data."""
    roots = [first]
    for number in range(2, jobs + 1):
        place = first.parents[1] / str(number)
        shutil.copytree(first.parent, place, symlinks=True)
        roots.append(place / first.name)
    for root in roots:
        # By their content: a broken file may have the size and the second of the whole one.
        words = ["-m", "compileall", "-q", "--invalidation-mode", "checked-hash", str(root / package)]
        subprocess.run([sys.executable, *words], check=True)
    return [House(root, package, root.parent / "scratch") for root in roots]


def _claim(out: Path, commit: str) -> None:
    """A folder has the results of one commit."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "commit.json"
    if file.is_file() and read_json(file)["commit"] != commit:
        raise UserError(f"{out} has the results of {read_json(file)['commit']}; give another --out for {commit}.")
    write_json(file, {"commit": commit})
