"""The commands of discovery: `shelfmark discover` and `shelfmark discover assign`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from shelfmark.cli.existing import checkpoint, config_file, existing_folder, output_file
from shelfmark.cli.options import MODEL
from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command, option
from shelfmark.cli.photos import PHOTOS, photos_of, status_of
from shelfmark.cli.recipes import published_model
from shelfmark.core.errors import UserError
from shelfmark.core.stopping import Stopped

if TYPE_CHECKING:
    from shelfmark.config.load import Loaded


def discover(args: argparse.Namespace) -> Outcome | int:
    # Read before the processes start, so that what is wrong is said once, and not by each of them.
    loaded = _recipe(args)
    from shelfmark.parallel.launch import relaunch

    status = relaunch(num_processes=args.num_gpus)
    if status is not None:
        return status
    from shelfmark.cli import discover_screens
    from shelfmark.core.files import read_json
    from shelfmark.pipelines.discover.loop import discover as run

    try:
        files = run(loaded, redo=args.redo, review=args.review)
    except Stopped as stopped:
        raise Stopped(stopped.number, "the same command goes on where the run stood") from None
    reports = [read_json(files.report(number)) for number in files.finished_rounds]
    return Outcome({"run": files.folder, "rounds": reports}, lambda: discover_screens.discovered(files))


def assign(args: argparse.Namespace) -> Outcome:
    from shelfmark.cli import discover_screens
    from shelfmark.pipelines.discover.assign import assign as run
    from shelfmark.pipelines.discover.assign import write_assigned

    photos = photos_of(args)
    answers = run(args.run, photos, checkpoint=args.RESUME_MODEL, overrides=args.overrides)
    if args.out is not None:
        write_assigned(answers, args.out)
    status = status_of(answers, warns=True)
    return Outcome([answer.as_json() for answer in answers], lambda: discover_screens.assigned(answers), status)


DISCOVER_COMMANDS = {
    "discover": Command(
        "find new products among images without labels: train, cluster, select, and repeat",
        discover,
        [
            option(
                "--config",
                "YAML recipe, such as configs/discovery/shop.yaml",
                is_needed=True,
                type=config_file,
                metavar="FILE",
            ),
            MODEL,
            option(
                "--redo",
                "repeat this stage of round 0, or of ROUND, and everything after it",
                default="",
                metavar="[ROUND/]STAGE",
            ),
            option(
                "--review",
                "stop after the report of each round, so that you can edit its review.csv",
                action="store_true",
            ),
            option("--smoke", "a trial: two rounds of a few steps on the generated shop", action="store_true"),
            option("--num-gpus", "number of processes to train and embed with", type=int, metavar="N"),
        ],
    ),
    "discover assign": Command(
        "assign photographs to the products of a run of discovery, known and new",
        assign,
        [
            PHOTOS,
            option(
                "--run",
                "folder of the run",
                type=existing_folder("a run of discovery", "`shelfmark discover` makes one."),
                required=True,
                metavar="DIR",
            ),
            option("--RESUME_MODEL", "folder of the run's model, if it was moved", type=checkpoint, metavar="CKPT"),
            option("--out", "CSV file for the answers", type=output_file, metavar="FILE"),
        ],
    ),
}


def _recipe(args: argparse.Namespace) -> Loaded:
    if args.config is None:
        raise UserError("--config is missing: name the recipe, as --config configs/discovery/shop.yaml.")
    from shelfmark.config.load import load
    from shelfmark.recipe import Recipe
    from shelfmark.recipe.absent_files import require_prepared

    base = published_model(args)
    loaded = load(Recipe, args.config, [*base, *args.overrides])
    if args.smoke:
        from shelfmark.pipelines.discover.smoke import discovery_smoke_overrides

        return load(Recipe, args.config, [*base, *discovery_smoke_overrides(loaded.config), *args.overrides])
    require_prepared(loaded)
    return loaded
