"""How many of 60 broken places the tests catch: a measure of the protection before and after a change of the tests.

    python benchmarks/mutants.py choose [COMMIT]
    python benchmarks/mutants.py renew [COMMIT] [--cover MODULE ...] [--without ID ...]
    python benchmarks/mutants.py run COMMIT --out DIR [--jobs N] [--budget SECONDS]
    python benchmarks/mutants.py table OLD_DIR NEW_DIR

`choose` draws the places and writes mutants.json. `renew` keeps of the list what a later commit still has, at its place
of today, and draws the rest anew. `run` breaks a copy of the commit's code in one place at a time and
runs the tests that reach it; stopped, it goes on where it was. `table` sets two runs side by side.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mutant_checkout import checked_out, commit_of
from mutant_draw import draw
from mutant_places import Places
from mutant_renewal import renewed
from mutant_runs import run_all
from mutant_table import table_text

from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json, write_json

LIST = Path(__file__).with_suffix(".json")
PACKAGE = Path("lib", "shelfmark")
NUM_MUTANTS = 60
BUDGET_S = 300


def main(words: Sequence[str] | None = None) -> int:
    options = _parsed(words)
    options.work(options)
    return 0


def _choose(options: argparse.Namespace) -> None:
    commit = commit_of(options.commit)
    with tempfile.TemporaryDirectory(prefix="mutants_") as made:
        places = Places(checked_out(commit, Path(made)) / PACKAGE)
    mutants = draw(places, options.number, options.seed)
    write_json(options.list, {"commit": commit, "seed": options.seed, "mutants": mutants})
    print(f"{options.list}: {len(mutants)} of {commit[:12]}")


def _renew(options: argparse.Namespace) -> None:
    old, commit = _mutants(options.list), commit_of(options.commit)
    unknown = sorted(set(options.without) - {one["id"] for one in old})
    if unknown:
        raise UserError(f"--without {unknown[0]}: {options.list} has no mutant of this id.")
    with tempfile.TemporaryDirectory(prefix="mutants_") as made:
        places = Places(checked_out(commit, Path(made)) / PACKAGE)
    mutants = renewed(places, old, options.number, options.seed, options.cover, options.without)
    write_json(options.list, {"commit": commit, "seed": options.seed, "mutants": mutants})
    print(f"{options.list}: {len(mutants)} of {commit[:12]}")


def _run(options: argparse.Namespace) -> None:
    run_all(commit_of(options.commit), PACKAGE, _mutants(options.list), options.out, options.jobs, options.budget)


def _table(options: argparse.Namespace) -> None:
    print(table_text(_mutants(options.list), options.old, options.new))


def _mutants(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        raise UserError(f"there is no list of mutants at {file}; `mutants.py choose` makes one.")
    return read_json(file)["mutants"]


def _parsed(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="break the code in many places and count what the tests catch")
    parser.add_argument("--list", type=Path, default=LIST, help=f"the list of mutants (default: {LIST.name})")
    commands = parser.add_subparsers(required=True)

    choose = commands.add_parser("choose", help="draw places of a commit's code and write the list")
    choose.set_defaults(work=_choose)
    renew = commands.add_parser("renew", help="bring the list to a later commit")
    renew.add_argument(
        "--cover", nargs="+", default=[], metavar="MODULE", help="modules or folders that have one mutant at least"
    )
    renew.add_argument("--without", nargs="+", type=int, default=[], metavar="ID", help="mutants to draw anew")
    renew.set_defaults(work=_renew)
    for drawing in (choose, renew):
        drawing.add_argument("commit", metavar="COMMIT", nargs="?", default="HEAD")
        drawing.add_argument("--number", type=int, default=NUM_MUTANTS, help=f"how many (default: {NUM_MUTANTS})")
        drawing.add_argument("--seed", type=int, default=0, help="another seed draws other places (default: 0)")

    run = commands.add_parser("run", help="try each mutant with the tests of a commit")
    run.add_argument("commit", metavar="COMMIT", help="a commit, a tag or a branch")
    run.add_argument("--out", type=Path, metavar="DIR", required=True, help="what each test reaches, and the results")
    run.add_argument("--jobs", type=int, default=1, help="mutants at a time, of one thread each (default: 1)")
    run.add_argument(
        "--budget",
        type=float,
        default=BUDGET_S,
        metavar="SECONDS",
        help=f"CPU time of the tests that one mutant runs; with more, survivors are tried again (default: {BUDGET_S})",
    )
    run.set_defaults(work=_run)

    table = commands.add_parser("table", help="set two runs side by side, in Markdown")
    table.add_argument("old", type=Path, metavar="OLD_DIR", help="the folder of a run")
    table.add_argument("new", type=Path, metavar="NEW_DIR", help="the folder of another run")
    table.set_defaults(work=_table)

    options = parser.parse_args(words)
    if getattr(options, "jobs", 1) < 1:
        parser.error(f"--jobs {options.jobs}: give 1 or above")
    return options


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
