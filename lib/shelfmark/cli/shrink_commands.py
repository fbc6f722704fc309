"""`shelfmark shrink`: a packed copy of a data set's images."""

from __future__ import annotations

import argparse

from shelfmark.cli.existing import output_folder
from shelfmark.cli.options import CONFIG
from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command, option
from shelfmark.cli.recipes import train_recipe, words_of_run
from shelfmark.core.errors import UserError
from shelfmark.core.stopping import Stopped
from shelfmark.data.source_words import place_alone


def shrink(args: argparse.Namespace) -> Outcome:
    loaded = train_recipe(args)
    from shelfmark.recipe.absent_files import require_prepared

    require_prepared(loaded)
    recipe = loaded.config
    if args.size is None:
        raise UserError(
            "--size is missing: give the shorter side of a packed image in pixels, some more than the size that is"
            f" trained, as --size {recipe.data.input_size_px * 10 // 7}."
        )
    from shelfmark.cli import shrink_screens
    from shelfmark.pipelines.shrink import shrink as run

    try:
        packed = run(recipe, args.size, args.quality, args.out, words_of_run(args, but="data.source"))
    except Stopped as stopped:
        advice = "the blocks that are whole are kept, and the same command goes on from there"
        raise Stopped(stopped.number, advice) from None
    return Outcome(packed.as_json(), lambda: shrink_screens.packed(packed))


SHRINK_COMMANDS = {
    "shrink": Command(
        "pack smaller images of a data set into a few large files, from which a training reads several times as fast",
        shrink,
        [
            CONFIG,
            option(
                "--size",
                "shorter side of a packed image in pixels; smaller images stay as they are",
                is_needed=True,
                type=int,
                metavar="PX",
            ),
            option(
                "--quality",
                "highest quality of the packed JPEGs, 1 to 100; an original of a lower one keeps its own (default: 90)",
                type=int,
                default=90,
                metavar="N",
            ),
            option(
                "--out",
                "folder for the packed copy (default: that of the images, followed by _PX)",
                type=lambda text: output_folder(place_alone(text)),
                metavar="DIR",
            ),
        ],
    ),
}
