"""The commands of discovery: `shelfmark discover` and `shelfmark discover assign`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from shelfmark.cli.parser import Command, option
from shelfmark.core.errors import UserError
from shelfmark.core.stopping import Stopped
from shelfmark.core.text_safety import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shelfmark.config.load import Loaded
    from shelfmark.pipelines.discover.assign import Assignment

UNREADABLE = 1
"""Exit status where some photographs could not be read; the others were answered."""


def discover(args: argparse.Namespace) -> int:
    from shelfmark.parallel.launch import relaunch

    # Read before the processes start, so that what is wrong is said once, and not by each of them.
    loaded = _recipe(args)
    status = relaunch(num_processes=args.num_gpus)
    if status is not None:
        return status
    from shelfmark.cli import discover_screens
    from shelfmark.pipelines.discover.loop import discover as run

    try:
        files = run(loaded, redo=args.redo, review=args.review)
    except Stopped as stopped:
        raise Stopped(stopped.number, "the same command goes on where the run stood") from None
    if os.environ.get("RANK", "0") == "0":
        discover_screens.discovered(files)
    return 0


def assign(args: argparse.Namespace) -> int:
    from shelfmark.cli import discover_screens
    from shelfmark.pipelines.discover.assign import assign as run
    from shelfmark.pipelines.discover.assign import write_assigned

    photos = _photos(args)
    with redirect_stdout(sys.stderr if args.json else sys.stdout):
        answers = run(args.run, photos, checkpoint=args.RESUME_MODEL, overrides=args.overrides)
        if args.out is not None:
            write_assigned(answers, args.out)
    if args.json:
        print(json.dumps([asdict(answer) for answer in answers], indent=2, ensure_ascii=False))
    else:
        discover_screens.assigned(answers)
    return _status(answers)


DISCOVER_COMMANDS = {
    "discover": Command(
        "find new products in unlabelled photographs: train, cluster, select, and round again",
        discover,
        [
            option("--config", "YAML recipe, as configs/discovery/shop.yaml", type=Path, metavar="FILE"),
            option(
                "--redo",
                "make this stage of round 0, or of ROUND, anew with all that follows it",
                default="",
                metavar="[ROUND/]STAGE",
            ),
            option(
                "--review", "stop after each round's report, so that its review.csv can be edited", action="store_true"
            ),
            option("--smoke", "two rounds of a few steps on the shop", action="store_true"),
            option("--num-gpus", "number of processes to train and embed with", type=int, metavar="N"),
        ],
    ),
    "discover assign": Command(
        "new photographs to the products that a run of discovery knows or found",
        assign,
        [
            option("photos", "photographs, or folders of them", nargs="+", metavar="PHOTO"),
            option("--run", "folder of the run", type=Path, required=True, metavar="DIR"),
            option("--RESUME_MODEL", "the model, where it is not where it was", type=Path, metavar="CKPT"),
            option("--out", "CSV file for the answers", type=Path, metavar="FILE"),
            option("--json", "JSON on standard output instead of a table", action="store_true"),
        ],
    ),
}


def _recipe(args: argparse.Namespace) -> Loaded:
    from shelfmark.config.load import load
    from shelfmark.pipelines.discover.smoke import discovery_smoke_overrides
    from shelfmark.recipe import Recipe

    if args.config is None:
        raise UserError("--config is missing: name the recipe, as --config configs/discovery/shop.yaml.")
    loaded = load(Recipe, args.config, args.overrides)
    if args.smoke:
        loaded = load(Recipe, args.config, [*discovery_smoke_overrides(loaded.config), *args.overrides])
    return loaded


def _photos(args: argparse.Namespace) -> list[Path]:
    """The photographs. The parser cannot tell them from `key=value`, so overrides are picked out by their look."""
    from shelfmark.config.load import parse_override

    is_override = ["=" in word and not Path(word).exists() for word in args.photos]
    args.overrides += [parse_override(word) for word, found in zip(args.photos, is_override) if found]
    photos = [Path(word) for word, found in zip(args.photos, is_override) if not found]
    if not photos:
        raise UserError("no photograph is given.")
    return photos


def _status(answers: Sequence[Assignment]) -> int:
    unread = [answer for answer in answers if answer.error is not None]
    for answer in unread:
        print(printable(f"warning: {answer.photo} could not be read: {answer.error}", one_line=True), file=sys.stderr)
    return UNREADABLE if unread else 0
