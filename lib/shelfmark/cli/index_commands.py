"""The commands of an index: `shelfmark index ...`, `search` and `recognise`."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from shelfmark.cli.parser import Command, option
from shelfmark.cli.processes import GPUS, model_recipe, opened_model, require_model
from shelfmark.core.errors import UserError
from shelfmark.core.text_safety import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shelfmark.pipelines.index import Source
    from shelfmark.pipelines.recognise import Recognition
    from shelfmark.pipelines.search import Answer
    from shelfmark.recipe import Recipe

UNREADABLE = 1
"""Exit status where some photographs could not be read; the others were answered."""

INDEX = option("--index", "folder of the index", type=Path, required=True, metavar="DIR")
MODEL = option("--RESUME_MODEL", "the index's checkpoint, where it is not where it was", type=Path, metavar="CKPT")
SOURCE = [
    option("--split", "which annotations of the config (default: train)", choices=["train", "val", "retrieval"]),
    option(
        "--annotations", "another annotation file; of marked records those with is_gallery", type=Path, metavar="FILE"
    ),
    option("--images", "a folder of photographs", type=Path, metavar="DIR"),
    option("--label", "with --images: the class of them all", type=int, metavar="LABEL"),
    option("--class-name", "with --label: its name", metavar="NAME"),
    option(
        "--embeddings",
        "take these features of them, which `shelfmark embed` or a build wrote",
        type=Path,
        metavar="DIR",
    ),
]
PHOTOS = option("photos", "photographs, or folders of them", nargs="+", metavar="PHOTO")
NEAREST = option("--k", "gallery images that are looked at", type=int, default=10, metavar="K")
JSON = option("--json", "JSON on standard output instead of tables", action="store_true")


def build(args: argparse.Namespace) -> int:
    require_model(args)
    source = _source(args)
    opened = opened_model(args)
    from shelfmark.pipelines.index import build as run

    run(opened, args.out, source, args.kind)
    return 0


def add(args: argparse.Namespace) -> int:
    source = _source(args)
    from shelfmark.pipelines.index import add as run

    run(args.index, source, args.RESUME_MODEL, args.overrides)
    return 0


def remove(args: argparse.Namespace) -> int:
    from shelfmark.pipelines.index import remove as run

    run(args.index, args.ids, args.labels)
    return 0


def info(args: argparse.Namespace) -> int:
    from shelfmark.cli import index_screens
    from shelfmark.pipelines.index import info as run

    index_screens.described(run(args.index))
    return 0


def export(args: argparse.Namespace) -> int:
    from shelfmark.pipelines.index import export as run

    run(args.index, args.out, args.format)
    return 0


def search(args: argparse.Namespace) -> int:
    photos = _photos(args)
    from shelfmark.cli import index_screens
    from shelfmark.pipelines.search import search as run

    with _told_aside(args.json):
        answers = run(
            args.index,
            photos,
            k=args.k,
            combine=args.score,
            checkpoint=args.RESUME_MODEL,
            overrides=args.overrides,
        )
    (index_screens.as_json if args.json else index_screens.searched)(answers)
    return _status(answers, args.json)


def recognise(args: argparse.Namespace) -> int:
    photos = _photos(args)
    from shelfmark.cli import index_screens
    from shelfmark.pipelines.recognise import recognise as run

    with _told_aside(args.json):
        answers = run(
            args.index,
            photos,
            checkpoint=args.RESUME_MODEL,
            overrides=args.overrides,
            k=args.k,
            weight=args.weight,
            temperature=args.temperature,
            topk=args.topk,
        )
    (index_screens.as_json if args.json else index_screens.recognised)(answers)
    return _status(answers, args.json)


_SEARCH = Command(
    "the products that look most like photographs, by an index",
    search,
    [
        PHOTOS,
        INDEX,
        MODEL,
        NEAREST,
        option(
            "--score", "a product's score, over its images: the best, or the sum", choices=["max", "sum"], default="max"
        ),
        JSON,
    ],
)


def _recipe_of_index(args: argparse.Namespace) -> Recipe:
    from shelfmark.engine.checkpoint import load_checkpoint
    from shelfmark.runtime.opened_index import checkpoint_of_index
    from shelfmark.runtime.trained_model import recipe_of

    return recipe_of(load_checkpoint(checkpoint_of_index(args.index, args.RESUME_MODEL)), args.overrides)


INDEX_COMMANDS = {
    "index build": Command(
        "embed a gallery and build an index of it",
        build,
        [
            option("--RESUME_MODEL", "checkpoint folder, as log/shop/best_model", type=Path, metavar="CKPT"),
            option("--out", "folder for the index", type=Path, required=True, metavar="DIR"),
            option(
                "--kind",
                "how it searches (default: auto, by size, with the reason)",
                choices=["auto", "flat", "hnsw", "ivf_flat", "ivf_pq"],
                default="auto",
            ),
            *SOURCE,
            *GPUS,
        ],
        recipe=model_recipe,
    ),
    "index add": Command("add images to an index", add, [INDEX, MODEL, *SOURCE, *GPUS], recipe=_recipe_of_index),
    "index remove": Command(
        "take images out of an index",
        remove,
        [
            INDEX,
            option("--ids", "image ids", nargs="+", default=[], metavar="ID"),
            option("--labels", "all images of these classes", type=int, nargs="+", default=[], metavar="LABEL"),
        ],
        takes_config=False,
    ),
    "index info": Command("what an index is, and whether it is whole", info, [INDEX], takes_config=False),
    "index export": Command(
        "write the vectors of an index for a vector database",
        export,
        [
            INDEX,
            option("--format", "npy: a folder; parquet: one file", choices=["npy", "parquet"], default="npy"),
            option("--out", "folder or file", type=Path, required=True, metavar="PATH"),
        ],
        takes_config=False,
    ),
    "index search": _SEARCH,
    "search": _SEARCH,
    "recognise": Command(
        "the products in photographs, by the classifier and an index together",
        recognise,
        [
            PHOTOS,
            INDEX,
            MODEL,
            NEAREST,
            option("--weight", "of the neighbours; 0 is the classifier alone", type=float, default=0.5, metavar="W"),
            option("--temperature", "of the neighbours' votes", type=float, default=0.1, metavar="T"),
            option("--topk", "products a photograph", type=int, default=5, metavar="K"),
            JSON,
        ],
    ),
}


def _source(args: argparse.Namespace) -> Source:
    from shelfmark.pipelines.index import Source

    return Source(args.split, args.annotations, args.images, args.embeddings, args.label, args.class_name)


def _photos(args: argparse.Namespace) -> list[Path]:
    """The photographs. The parser cannot tell them from `key=value`, so overrides are picked out by their look."""
    from shelfmark.config.load import parse_override

    photos = []
    for word in args.photos:
        if "=" in word and not Path(word).exists():
            args.overrides.append(parse_override(word))
        else:
            photos.append(Path(word))
    if not photos:
        raise UserError("no photograph is given.")
    return photos


@contextlib.contextmanager
def _told_aside(is_json: bool) -> Iterator[None]:
    """What is said on the way goes to standard error, where standard output is for JSON."""
    with contextlib.redirect_stdout(sys.stderr if is_json else sys.stdout):
        yield


def _status(answers: Sequence[Answer] | Sequence[Recognition], is_json: bool) -> int:
    unread = [answer for answer in answers if answer.error is not None]
    if is_json:
        # The tables say it themselves.
        for answer in unread:
            print(
                printable(f"warning: {answer.photo} could not be read: {answer.error}", one_line=True), file=sys.stderr
            )
    return UNREADABLE if unread else 0
