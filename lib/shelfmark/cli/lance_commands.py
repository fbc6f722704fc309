"""`shelfmark to-lance`: the images of a recipe as a Lance dataset."""

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


def place(text: str) -> str:
    """An address as s3://..., or a folder that can be written."""
    return place_alone(text) if "://" in text else str(output_folder(text))


def to_lance(args: argparse.Namespace) -> Outcome:
    if args.out is None:
        raise UserError("--out is missing: a folder for the dataset, or an address such as s3://bucket/shop.lance.")
    loaded = train_recipe(args)
    from shelfmark.core.log import say
    from shelfmark.core.wording import counted
    from shelfmark.pipelines.to_lance import to_lance as run
    from shelfmark.recipe.absent_files import require_prepared

    require_prepared(loaded)
    try:
        written = run(loaded.config, args.out, words_of_run(args, but="data.source"))
    except Stopped as stopped:
        advice = "the images that are written are kept, and the same command goes on from there"
        raise Stopped(stopped.number, advice) from None

    def show() -> None:
        say(f"{counted(written.num_images, 'image')} in {written.uri}")
        say(f"train on them: {written.command}")

    return Outcome(written.as_json(), show)


LANCE_COMMANDS = {
    "to-lance": Command(
        "write the images of a data set, as they are, into a Lance dataset, on a disk or in an object store",
        to_lance,
        [
            CONFIG,
            option(
                "--out",
                "folder for the dataset, or an address that lance knows, as s3://bucket/shop.lance; credentials come"
                " from the environment",
                is_needed=True,
                type=place,
                metavar="PLACE",
            ),
        ],
    ),
}
