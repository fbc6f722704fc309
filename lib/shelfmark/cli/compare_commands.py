"""`shelfmark compare`: several runs side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from shelfmark.cli.existing import output_file, run_or_checkpoint
from shelfmark.cli.options import DEVICES
from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command, option
from shelfmark.core.errors import UserError
from shelfmark.core.exit_codes import ExitCode
from shelfmark.core.requirement import Requirement
from shelfmark.core.score_names import CLASS_SCORES, QUERY_SCORES

if TYPE_CHECKING:
    from shelfmark.recipe import Recipe


def requirement(text: str) -> Requirement:
    """A type of options: what the runs must reach."""
    return Requirement.of(text, (*CLASS_SCORES, *QUERY_SCORES))


def compare(args: argparse.Namespace) -> Outcome:
    places = _places(args)
    from shelfmark.cli import compare_screens
    from shelfmark.pipelines.compare import compare as run

    found = run(places, args.overrides, args.require, args.out)
    status = ExitCode.NOT_MET if found.unmet else ExitCode.DONE
    return Outcome(found.as_json(), lambda: compare_screens.compared(found), status)


def first_recipe(args: argparse.Namespace) -> Recipe:
    """The recipe of the first run."""
    from shelfmark.engine.checkpoint import load_checkpoint
    from shelfmark.recipe.of_checkpoint import recipe_of

    [(_, path), *_] = _places(args)
    return recipe_of(load_checkpoint(path), args.overrides)


def _places(args: argparse.Namespace) -> list[tuple[str, Path]]:
    """What each run was called, and its checkpoint; what looks like `key=value` and is no folder joins overrides."""
    from shelfmark.config.overrides import parse_override

    options = [word for word in args.runs if "=" in word and not Path(word).exists()]
    args.runs = [word for word in args.runs if word not in options]
    args.overrides += [parse_override(word) for word in options]
    if len(args.runs) < 2:
        raise UserError(
            f"{len(args.runs)} run is given, and a comparison needs two: shelfmark compare log/a log/b. The first is"
            " the one that the others are compared with; `shelfmark evaluate` scores one alone."
        )
    return [(word, run_or_checkpoint(word)) for word in args.runs]


COMPARE_COMMANDS = {
    "compare": Command(
        "compare runs on the same images: what differs in their options, scores, classes, answers, speed. Exit status"
        " 3: a requirement was not met",
        compare,
        [
            option(
                "runs",
                "folders of runs (their best_model) or of checkpoints, two or more. The others are compared with the"
                " first",
                nargs="+",
                metavar="RUN",
            ),
            option(
                "--require",
                "what every run but the first must reach: a score, >= or <=, and a number in percent. With a sign the"
                " number is the difference from the first run, without one it is the score itself. Can be given several"
                " times",
                type=requirement,
                action="append",
                default=[],
                metavar="RULE",
            ),
            option(
                "--out",
                "also write a page with everything, and with pictures of the classes that changed",
                type=output_file,
                metavar="FILE.html",
            ),
            *DEVICES,
        ],
        recipe=first_recipe,
    ),
}
