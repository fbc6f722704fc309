"""The commands that predict images without labels."""

from __future__ import annotations

import argparse
from pathlib import Path

from shelfmark.cli.existing import existing_file, output_file
from shelfmark.cli.options import DEVICES, RESUME, image_folder
from shelfmark.cli.parser import Command, option
from shelfmark.cli.recipes import model_recipe, trained_model


def test(args: argparse.Namespace) -> int:
    from shelfmark.config.overrides import Override

    if args.tta:
        args.overrides.append(Override("predict.views", args.tta, "--tta"))
    model = trained_model(args)
    from shelfmark.pipelines.predict import predict

    predict(model, images=args.images, topk=args.topk, out=args.out)
    return 0


def ensemble(args: argparse.Namespace) -> int:
    from shelfmark.pipelines.ensemble import ensemble as run

    run(args.files, args.weights, args.out, args.num_classes)
    return 0


def weigh_experts(args: argparse.Namespace) -> int:
    model = trained_model(args)
    from shelfmark.cli import screens
    from shelfmark.pipelines.weigh_experts import weigh_experts as run

    screens.weighed(run(model, images=args.images))
    return 0


def pseudo_label(args: argparse.Namespace) -> int:
    model = trained_model(args)
    from shelfmark.pipelines.pseudo_label import pseudo_label as run

    run(model, args.out, images=args.images, min_confidence=args.min_confidence, with_train=args.with_train)
    return 0


_IMAGES = option(
    "--images",
    "take all images in this folder and its subfolders (default: the test set)",
    type=image_folder,
    metavar="DIR",
)

PREDICT_COMMANDS = {
    "test": Command(
        "predict a test set, as `python test.py` does",
        test,
        [
            RESUME,
            _IMAGES,
            option(
                "--tta",
                "predict several views of each image, and average the probabilities",
                choices=["flip", "five_crop", "ten_crop"],
            ),
            option(
                "--topk",
                "also write the K best classes of each image with their probabilities",
                type=int,
                default=0,
                metavar="K",
            ),
            option(
                "--out",
                "submission file (default: submission.csv in the run folder)",
                type=output_file,
                metavar="FILE",
            ),
            *DEVICES,
        ],
        recipe=model_recipe,
    ),
    "ensemble": Command(
        "combine the top-k files of several models into one submission",
        ensemble,
        [
            option(
                "files",
                "files that `test --topk K` wrote",
                type=existing_file("a top-k file", "Write it with `python test.py --topk K`."),
                nargs="+",
                metavar="CSV",
            ),
            option(
                "--weights",
                "weights of the files, one number for each (default: equal weights)",
                type=float,
                nargs="+",
                metavar="W",
            ),
            option(
                "--num-classes",
                "number of classes. A file with a class number of N or above is refused",
                type=int,
                default=0,
                metavar="N",
            ),
            option(
                "--out",
                "submission file",
                type=output_file,
                default=Path("ensemble.csv"),
                metavar="FILE",
            ),
        ],
        takes_config=False,
    ),
    "weigh-experts": Command(
        "learn weights for the experts of a model from images without labels, as in SADE",
        weigh_experts,
        [RESUME, _IMAGES, *DEVICES],
        recipe=model_recipe,
    ),
    "pseudo-label": Command(
        "predict images without labels, and write the confident predictions as annotations",
        pseudo_label,
        [
            RESUME,
            _IMAGES,
            option(
                "--min-confidence",
                "lowest probability of a predicted label that is written",
                type=float,
                default=0.9,
                metavar="P",
            ),
            option("--with-train", "write the training annotations too, before the predictions", action="store_true"),
            option("--out", "annotation file to write", type=output_file, metavar="FILE", required=True),
            *DEVICES,
        ],
        recipe=model_recipe,
    ),
}
