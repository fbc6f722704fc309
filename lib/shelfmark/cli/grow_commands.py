"""`shelfmark grow`: new classes without training."""

from __future__ import annotations

import argparse

from shelfmark.cli.existing import output_folder
from shelfmark.cli.options import DEVICES, RESUME, image_folder
from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command, option
from shelfmark.cli.recipes import model_recipe, trained_model
from shelfmark.core.exit_codes import ExitCode


def grow(args: argparse.Namespace) -> Outcome:
    model = trained_model(args)
    from shelfmark.cli import grow_screens
    from shelfmark.pipelines.grow import grow as run

    grown = run(model, args.images, args.out)
    status = ExitCode.UNREADABLE if grown.errors else ExitCode.DONE
    return Outcome(grown.as_json(), lambda: grow_screens.grown(grown), status)


GROW_COMMANDS = {
    "grow": Command(
        "give a classifier new classes from a few pictures each, without training",
        grow,
        [
            RESUME,
            option(
                "--images",
                "folder with a folder of pictures for each new class; or the folder of one class",
                type=image_folder,
                required=True,
                metavar="DIR",
            ),
            option("--out", "folder for the new checkpoint", type=output_folder, required=True, metavar="CKPT"),
            *DEVICES,
        ],
        recipe=model_recipe,
    ),
}
