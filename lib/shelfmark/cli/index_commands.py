"""The commands of an index: `shelfmark index ...`, `search` and `recognise`."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from shelfmark.cli.existing import checkpoint, existing_folder
from shelfmark.cli.options import DEVICES, JSON, RESUME, annotation_file, embeddings_folder, image_folder
from shelfmark.cli.parser import Command, option
from shelfmark.cli.photos import PHOTOS, photos_of, status_of
from shelfmark.cli.recipes import model_recipe, require_checkpoint, trained_model

if TYPE_CHECKING:
    from shelfmark.pipelines.index import Source
    from shelfmark.recipe import Recipe

INDEX = option(
    "--index",
    "folder of the index",
    type=existing_folder("an index", "Build one with `shelfmark index build`."),
    required=True,
    metavar="DIR",
)
MODEL = option("--RESUME_MODEL", "the index's checkpoint, if it was moved", type=checkpoint, metavar="CKPT")
SOURCE = [
    option(
        "--split", "which annotations of the config to read (default: train)", choices=["train", "val", "retrieval"]
    ),
    option(
        "--annotations",
        "another annotation file instead; where records are marked, those with is_gallery",
        type=annotation_file,
        metavar="FILE",
    ),
    option("--images", "every photograph below this folder instead", type=image_folder, metavar="DIR"),
    option("--label", "the class of all --images", type=int, metavar="LABEL"),
    option("--class-name", "the name of the class of --label", metavar="NAME"),
    option(
        "--embeddings",
        "their features, which `shelfmark embed` or an earlier build wrote, instead of a pass over the images",
        type=embeddings_folder,
        metavar="DIR",
    ),
]
NEAREST = option("--k", "nearest gallery images to look at", type=int, default=10, metavar="K")


def build(args: argparse.Namespace) -> int:
    require_checkpoint(args)
    source = _source(args)
    model = trained_model(args)
    from shelfmark.pipelines.index import build as run

    run(model, args.out, source, args.kind)
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
    photos = photos_of(args)
    from shelfmark.cli import index_screens
    from shelfmark.pipelines.search import search_photographs

    with _told_aside(args.json):
        answers = search_photographs(
            args.index,
            photos,
            k=args.k,
            combine=args.score,
            checkpoint=args.RESUME_MODEL,
            overrides=args.overrides,
        )
    (index_screens.as_json if args.json else index_screens.searched)(answers)
    return status_of(answers, warns=args.json)


def recognise(args: argparse.Namespace) -> int:
    photos = photos_of(args)
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
    return status_of(answers, warns=args.json)


_SEARCH = Command(
    "find the products that look most like photographs, by an index",
    search,
    [
        PHOTOS,
        INDEX,
        MODEL,
        NEAREST,
        option(
            "--score",
            "score of a product: the best of its images' scores, or their sum",
            choices=["max", "sum"],
            default="max",
        ),
        JSON,
    ],
)


def _recipe_of_index(args: argparse.Namespace) -> Recipe:
    from shelfmark.engine.checkpoint import load_checkpoint
    from shelfmark.recipe.of_checkpoint import recipe_of
    from shelfmark.runtime.opened_index import checkpoint_of_index

    return recipe_of(load_checkpoint(checkpoint_of_index(args.index, args.RESUME_MODEL)), args.overrides)


INDEX_COMMANDS = {
    "index build": Command(
        "embed a gallery of images and build an index of it",
        build,
        [
            RESUME,
            option("--out", "folder for the index", type=Path, required=True, metavar="DIR"),
            option(
                "--kind",
                "how the index searches; auto chooses by size, and says why",
                choices=["auto", "flat", "hnsw", "ivf_flat", "ivf_pq"],
                default="auto",
            ),
            *SOURCE,
            *DEVICES,
        ],
        recipe=model_recipe,
    ),
    "index add": Command("add images to an index", add, [INDEX, MODEL, *SOURCE, *DEVICES], recipe=_recipe_of_index),
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
    "index info": Command("show what an index is, and whether it is whole", info, [INDEX], takes_config=False),
    "index export": Command(
        "write the vectors of an index for a vector database",
        export,
        [
            INDEX,
            option("--format", "npy writes a folder, parquet one file", choices=["npy", "parquet"], default="npy"),
            option("--out", "folder or file to write", type=Path, required=True, metavar="PATH"),
        ],
        takes_config=False,
    ),
    "index search": _SEARCH,
    "search": _SEARCH,
    "recognise": Command(
        "name the products in photographs, by the classifier and an index together",
        recognise,
        [
            PHOTOS,
            INDEX,
            MODEL,
            NEAREST,
            option(
                "--weight", "weight of the neighbours; 0: the classifier alone", type=float, default=0.5, metavar="W"
            ),
            option("--temperature", "temperature of the neighbours' votes", type=float, default=0.1, metavar="T"),
            option("--topk", "products to name for each photograph", type=int, default=5, metavar="K"),
            JSON,
        ],
    ),
}


def _source(args: argparse.Namespace) -> Source:
    from shelfmark.pipelines.index import Source

    return Source(args.split, args.annotations, args.images, args.embeddings, args.label, args.class_name)


@contextlib.contextmanager
def _told_aside(is_json: bool) -> Iterator[None]:
    """What is said on the way goes to standard error, where standard output is for JSON."""
    with contextlib.redirect_stdout(sys.stderr if is_json else sys.stdout):
        yield
