"""What the tables of the documentation share: runs with seeds, claims, Markdown, and the place in a page."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from measuring import device_names, versions

from shelfmark.config.load import load
from shelfmark.config.overrides import Override, parse_override
from shelfmark.core.errors import UserError
from shelfmark.core.files import write_text
from shelfmark.recipe import Recipe

ROOT = Path(__file__).parents[1]
Span = tuple[float, float]


@dataclass(frozen=True)
class Run(ABC):
    """A recipe with a seed, run by a command of its own in a folder of `work`."""

    recipe: str
    file: Path
    seed: int
    work: Path
    smoke: bool = False

    @property
    def folder(self) -> Path:
        return self.work / f"{self.recipe}_seed{self.seed}"

    @property
    def words(self) -> list[str]:
        """The command line behind `shelfmark`."""
        return [self.command, "--config", str(self.file), *(["--smoke"] if self.smoke else []), *self.overrides]

    @cached_property
    def options(self) -> Recipe:
        """The recipe with which the command runs."""
        overrides = [parse_override(word) for word in self.overrides]
        recipe: Recipe = load(Recipe, self.file, overrides).config
        if self.smoke:
            recipe = load(Recipe, self.file, [*self.smaller(recipe), *overrides]).config
        return recipe

    @property
    def overrides(self) -> list[str]:
        return [f"name={self.folder.name}", f"seed={self.seed}", f"output.log_root={self.work}"]

    @property
    @abstractmethod
    def command(self) -> str: ...

    @abstractmethod
    def smaller(self, recipe: Recipe) -> list[Override]:
        """What the command's --smoke overrides."""

    def make(self, threads: int) -> float:
        """Runs the command; seconds that it took. What it says goes into a text file beside the folder."""
        self.work.mkdir(parents=True, exist_ok=True)
        said = self.folder.with_suffix(".txt")
        started = time.perf_counter()
        with open(said, "a", encoding="utf-8") as stream:
            command = [sys.executable, "-m", "shelfmark", *self.words]
            environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
            status = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, env=environment, check=False)
        if status.returncode:
            last = said.read_text(encoding="utf-8").strip().splitlines()[-1:]
            raise UserError(f"{self.folder.name} could not be made: {' '.join(last)} All that it said is in {said}.")
        return time.perf_counter() - started


@dataclass(frozen=True)
class Claim:
    """held: None where a row that it speaks of was not measured."""

    text: str
    held: bool | None
    figures: str

    def __str__(self) -> str:
        verdict = "not measured" if self.held is None else "held" if self.held else "**failed**"
        return f"- {verdict}: {self.text} ({self.figures})"


def require_same_budget(runs: Sequence[Run], budget: Callable[[Run], dict[str, Any]]) -> None:
    """Raises a UserError where a run's budget, by the names of its parts, is not that of the first run."""
    first = budget(runs[0])
    for run in runs:
        different = [name for name, value in budget(run).items() if value != first[name]]
        if different:
            raise UserError(
                f"{run.recipe}.yaml and {runs[0].recipe}.yaml differ in {', '.join(different)}: with other budgets the"
                " comparison would mean nothing. Give both the same."
            )


def publish(page: Path, name: str, text: str, write: bool) -> None:
    """Prints the table, and puts it into the page where that is wanted."""
    print(f"\n{text}")
    if write:
        write_between_markers(page, name, text)
        print(f"\nwritten into {page.relative_to(ROOT)}")


def write_between_markers(page: Path, name: str, text: str) -> None:
    """Puts the text between the two markers of this name in the page; all the rest stays."""
    begin, end = (f"<!-- {name}: {what} -->" for what in ("begin", "end"))
    before, found_begin, rest = page.read_text(encoding="utf-8").partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise UserError(f"{page} has no place for the table: it must hold the lines {begin} and {end}, in this order.")
    write_text(page, f"{before}{begin}\n\n{text}\n\n{end}{after}")


def table_text(
    headings: Sequence[str], align: str, rows: Sequence[Sequence[str]], provenance: str, claims: Sequence[Claim]
) -> str:
    """The table, its provenance and the claims, in Markdown. align: `l` or `r` for each column."""
    lines = [_line(headings), "|" + "".join("---:|" if one == "r" else "---|" for one in align), *map(_line, rows)]
    return "\n".join([*lines, "", provenance, "", "Claims, judged by these figures:", "", *map(str, claims)])


def made_by(script: str, smoke: bool, words: Sequence[str] | None) -> str:
    """The end of a table's provenance: by which command, on what and when."""
    command = shlex.join(["python", f"benchmarks/{script}", *(sys.argv[1:] if words is None else words)])
    small = "; **with --smoke: no figure means anything**" if smoke else ""
    when = time.strftime("%Y-%m-%d")
    return f"{small}. `{command}`; {device_names()}; {versions('torch', 'timm', 'numpy')}; {when}."


def parser_of(description: str, work: str, seeds: Sequence[int], page: str) -> argparse.ArgumentParser:
    """The options that all tables have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("work", type=Path, nargs="?", default=Path(work), help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=seeds, help="seeds of the runs")
    parser.add_argument(
        "--write",
        action=argparse.BooleanOptionalAction,
        help=f"put the table into {page} (default: where it is the whole one)",
    )
    parser.add_argument("--smoke", action="store_true", help="run each recipe for seconds, to try the command")
    return parser


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def signed(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:+.1f}"


def gain_text(gain: float | None, interval: Span) -> str:
    return f"{signed(gain)} ({signed(interval[0])} to {signed(interval[1])})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def run_as_script(main: Callable[[], None]) -> None:
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
