"""`shelfmark explain`: why a photograph got its answer."""

from __future__ import annotations

import argparse

from shelfmark.cli.existing import existing_folder, output_folder
from shelfmark.cli.options import RESUME
from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command, option
from shelfmark.cli.photos import PHOTOS, photos_of, status_of
from shelfmark.cli.recipes import require_checkpoint


def explain(args: argparse.Namespace) -> Outcome:
    require_checkpoint(args)
    photos = photos_of(args)
    from shelfmark.cli import explain_screens
    from shelfmark.pipelines.explain import explain as run

    found = run(args.RESUME_MODEL, photos, index=args.index, out=args.out, overrides=args.overrides)
    status = status_of(found, warns=args.json)
    return Outcome([one.as_json() for one in found], lambda: explain_screens.explained(found), status)


EXPLAIN_COMMANDS = {
    "explain": Command(
        "show which regions of a photograph speak for its product, and what would tip the answer",
        explain,
        [
            PHOTOS,
            RESUME,
            option(
                "--index",
                "also show which regions a photograph shares with its nearest image in this index of the same model",
                type=existing_folder("an index", "Build one with `shelfmark index build`."),
                metavar="DIR",
            ),
            option(
                "--out",
                "folder for the pictures (default: explained in the run folder)",
                type=output_folder,
                metavar="DIR",
            ),
        ],
    ),
}
