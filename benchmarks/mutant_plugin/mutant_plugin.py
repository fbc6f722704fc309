"""A plugin of pytest: records which test runs which line and what each costs, or runs listed tests and notes each.

pytest -p mutant_plugin --record-reach DIR
pytest -p mutant_plugin --listed-tests FILE --note-tests FILE
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sitecustomize import NOW

WORST = {"passed": 0, "skipped": 1, "failed": 2}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mutants")
    group.addoption("--record-reach", metavar="DIR", help="record which test runs which line, and costs, in DIR")
    group.addoption("--listed-tests", metavar="FILE", help="run the tests whose ids FILE (JSON) lists, in its order")
    group.addoption("--note-tests", metavar="FILE", help="append a line to FILE when a test starts and when it ends")


def pytest_configure(config: pytest.Config) -> None:
    if folder := config.getoption("--record-reach"):
        config.pluginmanager.register(Recorder(Path(folder)), "mutant_recorder")
    if file := config.getoption("--note-tests"):
        config.pluginmanager.register(Notes(Path(file)), "mutant_notes")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if file := config.getoption("--listed-tests"):
        place = {name: number for number, name in enumerate(json.loads(Path(file).read_text(encoding="utf-8")))}
        items[:] = sorted((item for item in items if item.nodeid in place), key=lambda item: place[item.nodeid])


class Recorder:
    """Charges each line to the test, or to the fixture of a module or session, that runs it, in all processes.

    A line of JSON a test: its id, outcome, cost (see Cost; without such fixtures)
    and such fixtures as it uses; and a line a fixture: its name and cost.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lines = folder / f"tests-{os.getpid()}.jsonl"
        self._now = folder / f"now-{os.getpid()}.txt"
        self._fixtures_cost = 0.0
        self._outcome = "passed"
        os.environ[NOW] = str(self._now)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[Any]:
        self._charge(item.nodeid)
        self._outcome, self._fixtures_cost = "passed", 0.0
        cost = Cost()
        result = yield
        own = round(max(cost.so_far() - self._fixtures_cost, 0), 3)
        self._write(test=item.nodeid, outcome=self._outcome, cost=own, fixtures=_wide_fixtures(item))
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Iterator[Any]:
        if fixturedef.scope == "function":
            return (yield)
        before, cost_before = self._now.read_text(encoding="utf-8"), self._fixtures_cost
        self._charge(_name_of(fixturedef))
        cost = Cost()
        try:
            return (yield)
        finally:
            # Without that of a fixture that this one asks for while it is made.
            own = max(cost.so_far() - (self._fixtures_cost - cost_before), 0)
            self._fixtures_cost += own
            self._charge(before)
            self._write(fixture=_name_of(fixturedef), cost=round(own, 3))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._outcome = max(self._outcome, report.outcome, key=WORST.__getitem__)

    def _charge(self, name: str) -> None:
        import coverage

        self._now.write_text(name, encoding="utf-8")
        if current := coverage.Coverage.current():
            current.switch_context(name)

    def _write(self, **fields: object) -> None:
        with open(self._lines, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(fields) + "\n")


class Notes:
    """A line of JSON when a test starts, when one fails or cannot be collected, and one for each that went well."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write(test=nodeid, event="started")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed or report.when == "teardown":
            self._write(test=report.nodeid, event="failed" if report.failed else "finished", said=_said(report))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._write(test=report.nodeid, event="failed", said=_said(report))

    def _write(self, **fields: object) -> None:
        with open(self._file, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(fields) + "\n")


def _wide_fixtures(item: pytest.Item) -> list[str]:
    """The fixtures of a module or session that the test uses, also through others."""
    known = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009
    return sorted({_name_of(one) for defined in known.values() for one in defined if one.scope != "function"})


def _name_of(fixture: pytest.FixtureDef[Any]) -> str:
    return f"fixture {fixture.argname} of {fixture.baseid}"


def _said(report: pytest.TestReport | pytest.CollectReport) -> str:
    lines = [line for line in report.longreprtext.splitlines() if line.strip()]
    errors = [line[1:].strip() for line in lines if line.startswith("E ")]
    return (errors or lines or [""])[0][:200]


class Cost:
    """Seconds of CPU time since it was made, or half of the time that went by: children of a server are not counted."""

    def __init__(self) -> None:
        self._began = self._times()

    def so_far(self) -> float:
        cpu, elapsed = (now - before for now, before in zip(self._times(), self._began))
        return max(cpu, elapsed / 2)

    def _times(self) -> tuple[float, float]:
        used = os.times()
        return used.user + used.system + used.children_user + used.children_system, used.elapsed
