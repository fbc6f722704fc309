"""The commands of an index: `shelfmark index ...`, `search` and `recognise`."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from shelfmark.cli.existing import checkpoint, existing_folder, output_folder, output_path
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
MODEL = option("--RESUME_MODEL", "folder of the index's checkpoint, if it was moved", type=checkpoint, metavar="CKPT")
SOURCE = [
    option("--split", "annotations of the config to read (default: train)", choices=["train", "val", "retrieval"]),
    option(
        "--annotations",
        "read this annotation file instead. If it has records with is_gallery, only those are taken",
        type=annotation_file,
        metavar="FILE",
    ),
    option("--images", "take all images in this folder and its subfolders instead", type=image_folder, metavar="DIR"),
    option("--label", "class of all images in --images", type=int, metavar="LABEL"),
    option("--class-name", "name of the class in --label", metavar="NAME"),
    option(
        "--embeddings",
        "take features that `shelfmark embed` or an earlier build wrote, instead of a pass over the images",
        type=embeddings_folder,
        metavar="DIR",
    ),
]
NEAREST = option("--k", "number of nearest gallery images to use", type=int, default=10, metavar="K")


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
    "find the products that look most like a photograph, in an index",
    search,
    [
        PHOTOS,
        INDEX,
        MODEL,
        NEAREST,
        option(
            "--score",
            "score of a product: the best score of its images (max), or the sum of their scores (sum)",
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
            option("--out", "folder for the index", type=output_folder, required=True, metavar="DIR"),
            option(
                "--kind",
                "how the index searches. auto chooses by the size of the gallery, and says why",
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
        "remove images from an index",
        remove,
        [
            INDEX,
            option("--ids", "ids of the images to remove", nargs="+", default=[], metavar="ID"),
            option(
                "--labels", "classes to remove, with all their images", type=int, nargs="+", default=[], metavar="LABEL"
            ),
        ],
        takes_config=False,
    ),
    "index info": Command("show what is in an index, and check its files", info, [INDEX], takes_config=False),
    "index export": Command(
        "write the vectors of an index for a vector database",
        export,
        [
            INDEX,
            option("--format", "npy: a folder. parquet: one file", choices=["npy", "parquet"], default="npy"),
            option("--out", "folder or file to write", type=output_path, required=True, metavar="PATH"),
        ],
        takes_config=False,
    ),
    "index search": _SEARCH,
    "search": _SEARCH,
    "recognise": Command(
        "name the products in photographs, with the classifier and an index together",
        recognise,
        [
            PHOTOS,
            INDEX,
            MODEL,
            NEAREST,
            option(
                "--weight", "weight of the neighbours. 0: the classifier alone", type=float, default=0.5, metavar="W"
            ),
            option(
                "--temperature",
                "temperature of the softmax over the neighbours' similarities",
                type=float,
                default=0.1,
                metavar="T",
            ),
            option("--topk", "number of products to name for each photograph", type=int, default=5, metavar="K"),
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
