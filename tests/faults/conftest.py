"""What the fault tests share: the warm process, whole runs to compare with, and figures to tell at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kills import Pace
from runs import Launch, Place
from warm import Warm

FIGURES: dict[str, Counter[str]] = {}


class Tally:
    """Counts what was tried and what held; the end of the test run shows the figures."""

    def tried(self, title: str) -> None:
        FIGURES.setdefault(title, Counter())["tried"] += 1

    def held(self, title: str, **also: int) -> None:
        """also: further counts of this trial, such as kills in each phase."""
        FIGURES[title].update({"held": 1, **also})


@pytest.fixture(scope="session")
def tally() -> Tally:
    return Tally()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FIGURES:
        terminalreporter.section("what held")
    for title, counts in FIGURES.items():
        more = [f"{count} {name}" for name, count in sorted(counts.items()) if name not in ("tried", "held")]
        aside = f" ({', '.join(more)})" if more else ""
        terminalreporter.write_line(f"{title}: {counts['held']} of {counts['tried']}{aside}")


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    process = Warm.up()
    yield process
    process.close()


@pytest.fixture
def place(tmp_path: Path, shop_root: Path) -> Place:
    """An empty working folder."""
    return Place.new(tmp_path / "place", shop_root)


@pytest.fixture(scope="session")
def whole(
    warm: Warm, shop_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Launch], tuple[Path, Pace]]:
    """The folder of a run that nothing stopped, and its pace; made once for each kind of launch."""
    made: dict[Launch, tuple[Path, Pace]] = {}

    def run(launch: Launch) -> tuple[Path, Pace]:
        if launch not in made:
            place = Place.new(tmp_path_factory.mktemp("whole") / "place", shop_root)
            pace = Pace.of(launch.start(warm, place), place)
            made[launch] = place.run, pace
        return made[launch]

    return run
