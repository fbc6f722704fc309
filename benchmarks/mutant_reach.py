"""Which tests reach a line, and what each test costs: of one run of the suite under coverage, in all its processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from mutant_places import Place

from shelfmark.core.errors import UserError

PLUGIN = Path(__file__).parent / "mutant_plugin"
SETTINGS = """[run]
data_file = {lines}
parallel = true
source = {package}
core = ctrace
patch =
    _exit
    fork
disable_warnings =
    no-data-collected
    module-not-imported
    module-not-measured
    module-not-python
"""
# They read the source and run little of it: that they fail says nothing of what the code does.
READ_THE_SOURCE = ("/test_architecture.py", "::test_the_generator_is_frozen")


@dataclass(frozen=True)
class Test:
    """name: its id. cost: CPU seconds. fixtures: those of a module or session that it uses."""

    name: str
    outcome: str
    cost: float
    fixtures: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        return self.name.split("::", 1)[0]

    @property
    def reads_the_source(self) -> bool:
        return any(part in self.name for part in READ_THE_SOURCE)


@dataclass
class Chosen:
    """tests: in the order to run. num_reaching: how many there are, with those for which there is no time.

    how: what they reach, "line", "function" or "module"; "nothing" where no test reaches any.
    """

    how: str
    tests: list[Test] = field(default_factory=list)
    num_reaching: int = 0


class Reach:
    """What `record` has left in a folder."""

    def __init__(self, folder: Path, package: Path) -> None:
        self._package = package
        coverage = _coverage()
        self._data = coverage.CoverageData(str(folder / "lines"))
        self._data.read()
        self._tests: dict[str, Test] = {}
        self._fixture_costs: dict[str, float] = {}
        for line in _lines_of(folder):
            if "fixture" in line:
                # Made in each process that runs tests; the dearest is nearest to what it costs alone.
                cost = max(line["cost"], self._fixture_costs.get(line["fixture"], 0))
                self._fixture_costs[line["fixture"]] = cost
            else:
                self._tests[line["test"]] = Test(line["test"], line["outcome"], line["cost"], tuple(line["fixtures"]))

    @property
    def failed(self) -> list[str]:
        return sorted(name for name, test in self._tests.items() if test.outcome == "failed")

    def tests_of(self, place: Place, budget_s: float) -> Chosen:
        """The tests that reach the statement; else its function; else its module. The cheapest files first.

        Tests that failed or were skipped in the unbroken code are left out, and so are those past the budget.
        """
        contexts = self._contexts(place.module)
        for how, lines in (("line", place.lines), ("function", place.function_lines), ("module", list(contexts))):
            if tests := self._charged({name for line in lines for name in contexts.get(line, ())}):
                return Chosen(how, self._cheapest(tests, budget_s), len(tests))
        return Chosen("nothing")

    def _contexts(self, module: str) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for file in self._data.measured_files():
            if file.endswith(f"/{self._package.as_posix()}/{module}"):
                found = self._data.contexts_by_lineno(file)
        return found

    def _charged(self, names: set[str]) -> list[Test]:
        return [
            test
            for test in self._tests.values()
            if test.outcome == "passed" and not test.reads_the_source and names & {test.name, *test.fixtures}
        ]

    def _cheapest(self, tests: Sequence[Test], budget_s: float) -> list[Test]:
        files: dict[str, list[Test]] = {}
        for test in sorted(tests, key=lambda test: (test.cost, test.name)):
            files.setdefault(test.file, []).append(test)
        chosen: list[Test] = []
        made: set[str] = set()
        spent = 0.0
        for _, group in sorted(files.items(), key=lambda item: (self._cost_of(item[1]), item[0])):
            for test in group:
                cost = test.cost + sum(self._fixture_costs.get(name, 0) for name in test.fixtures if name not in made)
                if chosen and spent + cost > budget_s:
                    break
                spent += cost
                made.update(test.fixtures)
                chosen.append(test)
        return chosen

    def _cost_of(self, group: Iterable[Test]) -> float:
        group = list(group)
        fixtures = {name for test in group for name in test.fixtures}
        return sum(test.cost for test in group) + sum(self._fixture_costs.get(name, 0) for name in fixtures)


def is_recorded(folder: Path) -> bool:
    return (folder / "lines").is_file()


def record(house: Path, package: Path, folder: Path, jobs: int) -> None:
    """Runs the tests of a checkout once, without the slow ones, and keeps in `folder` what they reach.

    What fails under coverage is tried again without: it may have failed for its slowness.
    """
    _coverage()
    for old in folder.glob("*"):
        old.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "coveragerc"
    settings.write_text(SETTINGS.format(lines=folder / "lines", package=house / package), encoding="utf-8")
    words = ["-m", "not slow and not faults", f"--record-reach={folder}"]
    words += ["-n", str(jobs), "--dist", "loadfile"] if jobs > 1 else []
    with open(folder / "said.txt", "w", encoding="utf-8") as said:
        environment = environment_of(house, package) | {"COVERAGE_PROCESS_START": str(settings)}
        command = ["nice", "-n", "10", sys.executable, "-m", "pytest", "-q", "-p", "mutant_plugin", *words]
        status = subprocess.run(
            command, cwd=house, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False
        ).returncode
    if status not in (0, 1):
        raise UserError(f"the tests of {house} cannot be run (status {status}): see {said.name}")
    combine(house, package, folder)


def combine(house: Path, package: Path, folder: Path) -> None:
    """Puts the records of all processes into one, and tries again what failed under coverage."""
    whole = _coverage().Coverage(data_file=str(folder / "lines"), config_file=False)
    whole.combine(strict=True)
    whole.save()
    lines = {line["test"]: line for line in _lines_of(folder) if "test" in line}
    failed = [name for name, line in lines.items() if line["outcome"] == "failed"]
    with open(folder / "tests-again.jsonl", "w", encoding="utf-8") as stream:
        for name in failed:
            command = [sys.executable, "-m", "pytest", "-q", name]
            place = {"cwd": house, "env": environment_of(house, package), "stdin": subprocess.DEVNULL}
            if not subprocess.run(command, **place, capture_output=True, check=False).returncode:
                stream.write(json.dumps(lines[name] | {"outcome": "passed"}) + "\n")


def environment_of(house: Path, package: Path) -> dict[str, str]:
    """What a process needs to run tests of the checkout, with the plugin at hand."""
    paths = [str((house / package).parent), str(PLUGIN), os.environ.get("PYTHONPATH", "")]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in paths if path), "OMP_NUM_THREADS": "1"}


def _lines_of(folder: Path) -> list[dict[str, Any]]:
    """Those of tests tried again come last and count."""
    files = sorted(folder.glob("tests-*.jsonl"), key=lambda file: (file.stem == "tests-again", file.name))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def _coverage() -> ModuleType:
    try:
        import coverage
    except ImportError:
        raise UserError("coverage is not installed: pip install -e '.[dev]'") from None
    return coverage
