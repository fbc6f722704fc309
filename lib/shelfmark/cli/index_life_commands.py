"""The commands that look after an index: `shelfmark index verify` and `index compact`."""

from __future__ import annotations

import argparse
from pathlib import Path

from shelfmark.cli.existing import existing_folder
from shelfmark.cli.index_commands import STORE
from shelfmark.cli.options import embeddings_folder
from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command, option
from shelfmark.core.errors import UserError
from shelfmark.core.exit_codes import ExitCode

_FOLDER = existing_folder("an index", "Build one with `shelfmark index build`.")
INDEX_OR_WORD = [
    option("folder", "folder of the index", type=_FOLDER, nargs="?", metavar="DIR"),
    option("--index", "the same, as the other commands name it", type=_FOLDER, metavar="DIR"),
]


def verify(args: argparse.Namespace) -> Outcome:
    folder = _folder(args)
    from shelfmark.cli import index_screens
    from shelfmark.pipelines.index_life import verify as run

    if args.repair:
        from shelfmark.pipelines.index_repair import repair

        repair(folder, args.store)
    found = run(folder, args.queries, args.store)
    status = ExitCode.NOT_MET if found.problems else ExitCode.DONE
    return Outcome(found.as_json(), lambda: index_screens.verified(found), status)


def compact(args: argparse.Namespace) -> Outcome:
    folder = _folder(args)
    from shelfmark.pipelines.index_life import compact as run

    return Outcome(run(folder, args.store).as_json())


def _folder(args: argparse.Namespace) -> Path:
    if (args.folder is None) == (args.index is None):
        raise UserError("name the folder of one index, as in `shelfmark index verify log/shop/index`.")
    return args.folder or args.index


INDEX_LIFE_COMMANDS = {
    "index verify": Command(
        "measure what an index finds against exact search, and check that it holds what it lists",
        verify,
        [
            *INDEX_OR_WORD,
            option(
                "--queries",
                "features of pictures to search for, such as those of val that `shelfmark embed` wrote: measure by"
                " these too, not by images of the index alone",
                type=embeddings_folder,
                metavar="DIR",
            ),
            STORE,
            option(
                "--repair",
                "first make a Milvus store and the index the same again: delete vectors that the index does not have,"
                " and take out images whose vectors are lost",
                action="store_true",
            ),
        ],
        takes_config=False,
    ),
    "index compact": Command(
        "lay an index out anew where that frees removed images or finds more",
        compact,
        [*INDEX_OR_WORD, STORE],
        takes_config=False,
    ),
}
