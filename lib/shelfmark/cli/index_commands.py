"""The commands of an index: `shelfmark index ...`, `search` and `recognise`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shelfmark.cli.existing import checkpoint, existing_file, existing_folder, output_folder, output_path, store_place
from shelfmark.cli.options import DEVICES, RESUME, annotation_file, embeddings_folder, image_folder
from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command, option
from shelfmark.cli.photos import PHOTOS, photos_of, status_of
from shelfmark.cli.recipes import model_recipe, require_checkpoint, trained_model
from shelfmark.core.errors import UserError
from shelfmark.core.exit_codes import ExitCode

if TYPE_CHECKING:
    from shelfmark.pipelines.index import Added
    from shelfmark.recipe import Recipe
    from shelfmark.runtime.index_content import Source

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
        "--label-from",
        "folder: the class of an image in --images is the folder in --images that it lies in. A folder with the name of"
        " a known class gets its number, another one becomes a new product",
        choices=["folder"],
    ),
    option(
        "--id-prefix",
        "text before the ids of the images (default: for --images the folder's name, or as much of its path as makes"
        " the ids new)",
        metavar="TEXT",
    ),
    option(
        "--embeddings",
        "take features that `shelfmark embed` or an earlier build wrote, instead of a pass over the images",
        type=embeddings_folder,
        metavar="DIR",
    ),
]
STORE = option(
    "--store",
    "where the Milvus with the vectors is now, if it was moved: milvus://file.db or milvus://HOST:PORT",
    type=store_place,
    metavar="ADDRESS",
)
WHERE = option(
    "--where",
    "search only images that meet this condition, as in --where group=tea --where 'year>=2020'. `shelfmark index info`"
    " lists the columns",
    action="append",
    default=[],
    metavar="CONDITION",
)
NEAREST = option("--k", "number of nearest gallery images to use", type=int, default=10, metavar="K")


def build(args: argparse.Namespace) -> Outcome:
    require_checkpoint(args)
    source = _source(args)
    model = trained_model(args, reads_listed=args.images is None)
    from shelfmark.pipelines.index import build as run

    return _changed(run(model, args.out, source, args.kind, args.store))


def add(args: argparse.Namespace) -> Outcome:
    source = _source(args)
    from shelfmark.pipelines.index import add as run

    return _changed(run(args.index, source, args.RESUME_MODEL, args.overrides, args.store))


def _changed(added: Added) -> Outcome:
    return Outcome(added.as_json(), status=ExitCode.UNREADABLE if added.errors else ExitCode.DONE)


def remove(args: argparse.Namespace) -> Outcome:
    from shelfmark.pipelines.index import remove as run
    from shelfmark.retrieval.index_files import read_manifest

    before = read_manifest(args.index)["num_vectors"]
    left = len(run(args.index, args.ids, args.labels, args.store))
    return Outcome({"index": args.index, "num_images": left, "num_removed": before - left})


def info(args: argparse.Namespace) -> Outcome:
    from shelfmark.cli import index_screens
    from shelfmark.pipelines.index import info as run

    facts = run(args.index, args.store)
    return Outcome(facts, lambda: index_screens.described(facts))


def export(args: argparse.Namespace) -> Outcome:
    from shelfmark.pipelines.index import export as run

    index = run(args.index, args.out, args.format, args.store)
    return Outcome({"out": args.out, "format": args.format, "num_images": len(index), "dim": index.dim})


def search(args: argparse.Namespace) -> Outcome:
    photos = photos_of(args)
    from shelfmark.cli import index_screens
    from shelfmark.pipelines.search import search_photographs

    answers = search_photographs(
        args.index,
        photos,
        k=args.k,
        combine=args.score,
        checkpoint=args.RESUME_MODEL,
        overrides=args.overrides,
        place=args.store,
        where=args.where,
    )
    status = status_of(answers, warns=args.json)
    return Outcome([answer.as_json() for answer in answers], lambda: index_screens.searched(answers), status)


def recognise(args: argparse.Namespace) -> Outcome:
    of_shelves = args.boxes is not None or args.detector is not None
    if args.out is not None and not args.explain and not of_shelves:
        raise UserError(
            "--out is the folder for the pictures of --explain, --boxes and --detector; add one of them, or leave --out"
            " out."
        )
    photos = photos_of(args)
    if of_shelves:
        return _recognise_shelves(args, photos)
    if args.explain:
        return _recognise_and_explain(args, photos)
    from shelfmark.cli import index_screens
    from shelfmark.pipelines.recognise import recognise as run

    places = {"checkpoint": args.RESUME_MODEL, "overrides": args.overrides, "place": args.store, "where": args.where}
    answers = run(args.index, photos, **places, **_settings(args))
    status = status_of(answers, warns=args.json)
    return Outcome([answer.as_json() for answer in answers], lambda: index_screens.recognised(answers), status)


def _recognise_shelves(args: argparse.Namespace, photos: list[Path]) -> Outcome:
    if args.explain or (args.boxes is not None and args.detector is not None):
        raise UserError("--boxes, --detector and --explain are for themselves; give one of them.")
    from shelfmark.cli import shelf_screens
    from shelfmark.pipelines.shelves import recognise_shelves
    from shelfmark.runtime.box_finders import Detector, ListedBoxes
    from shelfmark.runtime.photographs import listed

    all_photos = listed(photos)
    finder: Detector | ListedBoxes
    if args.boxes is not None:
        finder = ListedBoxes.of(args.boxes, photos, _typed_root(args))
        all_photos = finder.asked(all_photos)
    else:
        finder = Detector.of(args.detector, args.min_score)
    places = {"checkpoint": args.RESUME_MODEL, "overrides": args.overrides, "place": args.store, "where": args.where}
    found = recognise_shelves(args.index, all_photos, finder, out=args.out, **places, **_settings(args))
    status = status_of(found.shelves, warns=args.json)
    return Outcome(found.as_json(), lambda: shelf_screens.counts(found), status)


def _typed_root(args: argparse.Namespace) -> str | None:
    """data.root of the command line; that of the model is the folder of the images that it was trained on."""
    roots = [one.value for one in args.overrides if one.key == "data.root" and one.value is not None]
    return str(roots[-1]) if roots else None


def _recognise_and_explain(args: argparse.Namespace, photos: list[Path]) -> Outcome:
    from shelfmark.cli import explain_screens, index_screens
    from shelfmark.pipelines.explain import recognise_and_explain
    from shelfmark.runtime.searcher import Searcher

    searcher = Searcher.open(args.index, args.RESUME_MODEL, args.overrides, place=args.store, where=args.where)
    answers, found = recognise_and_explain(args.index, photos, searcher, args.out, **_settings(args))

    def show() -> None:
        index_screens.recognised(answers)
        explain_screens.explained([one for one in found if one.error is None])

    value = [
        answer.as_json() | ({} if why.error else {"explanation": why.as_json()}) for answer, why in zip(answers, found)
    ]
    return Outcome(value, show, status_of(answers, warns=args.json))


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    return {"k": args.k, "weight": args.weight, "temperature": args.temperature, "topk": args.topk}


_SEARCH = Command(
    "find the products that look most like a photograph, in an index",
    search,
    [
        PHOTOS,
        INDEX,
        MODEL,
        STORE,
        NEAREST,
        WHERE,
        option(
            "--score",
            "score of a product: the best score of its images (max), or the sum of their scores (sum)",
            choices=["max", "sum"],
            default="max",
        ),
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
            option(
                "--store",
                "Milvus that the vectors go to, in place of the index's folder: milvus://file.db (milvus-lite) or"
                " milvus://HOST:PORT[/DATABASE]. A token comes from the variable SHELFMARK_MILVUS_TOKEN, or from the"
                " file that SHELFMARK_MILVUS_TOKEN_FILE names",
                type=store_place,
                metavar="ADDRESS",
            ),
            *SOURCE,
            *DEVICES,
        ],
        recipe=model_recipe,
    ),
    "index add": Command(
        "add images to an index", add, [INDEX, MODEL, STORE, *SOURCE, *DEVICES], recipe=_recipe_of_index
    ),
    "index remove": Command(
        "remove images from an index",
        remove,
        [
            INDEX,
            STORE,
            option("--ids", "ids of the images to remove", nargs="+", default=[], metavar="ID"),
            option(
                "--labels", "classes to remove, with all their images", type=int, nargs="+", default=[], metavar="LABEL"
            ),
        ],
        takes_config=False,
    ),
    "index info": Command("show what is in an index, and check its files", info, [INDEX, STORE], takes_config=False),
    "index export": Command(
        "write the vectors of an index for a vector database",
        export,
        [
            INDEX,
            STORE,
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
            STORE,
            NEAREST,
            WHERE,
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
            option(
                "--explain",
                "also show which regions speak for each answer, and which the photograph shares with its nearest image",
                action="store_true",
            ),
            option(
                "--boxes",
                "annotation file with a bbox in each record: name the product in each box of the photographs, which"
                " stand on shelves, and count them. Its paths start at data.root=DIR if that is typed; else at a given"
                " folder or photograph's folder, at the file's own, or at the working folder",
                type=existing_file("a file of boxes"),
                metavar="FILE",
            ),
            option(
                "--detector",
                "as --boxes, with the boxes of a Python function detect(image) -> boxes, scores: package.module:name",
                metavar="PLUGIN",
            ),
            option(
                "--min-score",
                "lowest score of a box of --detector that is looked at",
                type=float,
                default=0.5,
                metavar="S",
            ),
            option(
                "--out",
                "folder for the pictures of --explain, or the pictures and tables of --boxes and --detector (default:"
                " explained or shelves in the run folder of the model)",
                type=output_folder,
                metavar="DIR",
            ),
        ],
    ),
}


def _source(args: argparse.Namespace) -> Source:
    from shelfmark.runtime.index_content import Source

    of_images = (args.label, args.class_name, args.label_from, args.id_prefix)
    return Source(args.split, args.annotations, args.images, args.embeddings, *of_images)
