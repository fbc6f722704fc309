"""The commands that predict images without labels."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from shelfmark.cli.existing import existing_file, output_file
from shelfmark.cli.options import DEVICES, RESUME, image_folder
from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command, option
from shelfmark.cli.recipes import model_recipe, trained_model
from shelfmark.core.door import command_line
from shelfmark.core.exit_codes import ExitCode


def test(args: argparse.Namespace) -> Outcome:
    from shelfmark.config.overrides import Override

    if args.tta:
        args.overrides.append(Override("predict.views", args.tta, "--tta"))
    model = trained_model(args, reads_listed=args.images is None)
    from shelfmark.pipelines.predict import predict

    result = predict(model, images=args.images, topk=args.topk, out=args.out)

    def show() -> None:
        from shelfmark.cli import predict_screens

        # The predictions of a test set are handed on as a file; photographs of a user are looked at.
        if args.images is not None:
            predict_screens.predicted(result)

    return Outcome(result.as_json() if args.json else None, show, _status(result.errors))


def ensemble(args: argparse.Namespace) -> Outcome:
    from shelfmark.pipelines.ensemble import ensemble as run
    from shelfmark.predictions.answers import of_topk

    _, content = run(args.files, args.weights, args.out, args.num_classes)
    return Outcome(of_topk(*content) if args.json else None)


def weigh_experts(args: argparse.Namespace) -> Outcome:
    model = trained_model(args, reads_listed=args.images is None)
    from shelfmark.cli import screens
    from shelfmark.pipelines.weigh_experts import weigh_experts as run
    from shelfmark.predictions.answers import of_errors

    result = run(model, images=args.images)
    value = {
        "checkpoint": result.checkpoint,
        "weights": result.weights,
        "agreement": result.stability,
        "agreement_with_equal_weights": result.equal_stability,
        "errors": of_errors(result.errors),
    }
    return Outcome(value, lambda: screens.weighed(result), _status(result.errors))


def pseudo_label(args: argparse.Namespace) -> Outcome:
    model = trained_model(args, reads_listed=args.images is None)
    from shelfmark.pipelines.pseudo_label import pseudo_label as run

    result = run(model, args.out, args.images, args.min_confidence, args.with_train)
    value = {"annotations": result.file, "num_labelled": len(result.labelled), "images": result.as_json()}
    return Outcome(value, status=_status(result.predicted.errors))


def _status(errors: Mapping[int, str] | Mapping[str, str]) -> ExitCode:
    return ExitCode.UNREADABLE if errors else ExitCode.DONE


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
                "also write the K best classes of each image with their probabilities and names",
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
                type=existing_file("a top-k file", f"Write it with `{command_line('test')} --topk K`."),
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
