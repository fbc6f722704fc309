"""The commands that measure, recalibrate and use a trained model on images with labels."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from shelfmark.cli.existing import output_folder
from shelfmark.cli.options import DEVICES, RESUME, annotation_file, image_folder
from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command, option
from shelfmark.cli.recipes import model_recipe, trained_model
from shelfmark.core.errors import UserError
from shelfmark.core.exit_codes import ExitCode

if TYPE_CHECKING:
    from shelfmark.recipe import Recipe


def evaluate(args: argparse.Namespace) -> Outcome:
    model = trained_model(args)
    from shelfmark.cli import screens
    from shelfmark.core.files import unused_path
    from shelfmark.core.together import from_main
    from shelfmark.pipelines.evaluate import evaluate as run
    from shelfmark.pipelines.post_processing import Plan, post_process
    from shelfmark.runtime.retrieval_scores import ExtraScores

    plan = Plan.of(args.post, args.whiten_dim, model.recipe)
    former = args.out or model.run_folder / "evaluation"
    folder = from_main(lambda: unused_path(former))
    asked = ExtraScores(args.clusters, args.verification, args.legacy_metrics, args.gallery_draws)
    summary = run(model, folder, asked, former)
    rows = post_process(model, folder, plan, former) if plan.steps else []

    def show() -> None:
        screens.evaluated(folder, summary, args.legacy_metrics)
        if rows:
            screens.post_processed(folder, rows)

    return Outcome({"folder": folder, "scores": summary, "post_processing": rows}, show)


def calibrate(args: argparse.Namespace) -> Outcome:
    model = trained_model(args)
    from shelfmark.cli import screens
    from shelfmark.pipelines.calibrate import calibrate as run

    result = run(model, args.method.split(","), args.out)
    return Outcome(asdict(result), lambda: screens.calibrated(result))


def tau_norm(args: argparse.Namespace) -> Outcome:
    model = trained_model(args)
    from shelfmark.cli import screens
    from shelfmark.pipelines.tau_norm import tau_norm as run

    result = run(model)
    return Outcome(asdict(result), lambda: screens.recalibrated(result))


def embed(args: argparse.Namespace) -> Outcome:
    if args.runner == "ray":
        from shelfmark.runtime.shards import require_ray

        require_ray()
    model = trained_model(args, reads_listed=args.images is None)
    from shelfmark.pipelines.embed import embed as run
    from shelfmark.predictions.answers import of_errors

    found = run(model, args.out, args.split, args.annotations, args.images, args.runner, args.shard_size)
    num_images, dim = found.features.features.shape
    value = {"folder": args.out, "num_images": num_images, "dim": dim, "errors": of_errors(found.errors)}
    value["accounts"] = found.accounts.as_json()
    return Outcome(value, status=ExitCode.UNREADABLE if found.errors else ExitCode.DONE)


def embed_recipe(args: argparse.Namespace) -> Recipe:
    """As `model_recipe`, which is asked where the command shall start several processes."""
    if args.runner == "ray":
        raise UserError("--runner ray starts its own processes; leave out --num-gpus, --gpu_ids and torchrun.")
    return model_recipe(args)


def clean(args: argparse.Namespace) -> Outcome:
    model = trained_model(args)
    from shelfmark.pipelines.clean import clean as run

    found = run(model, args.out, args.annotations, keep_accuracy=args.keep_accuracy, min_suspicion=args.min_suspicion)
    return Outcome(found.as_json())


MODEL_COMMANDS = {
    "evaluate": Command(
        "score a model on the validation images, and on query and gallery images",
        evaluate,
        [
            RESUME,
            option(
                "--out",
                "folder for the scores (default: evaluation in the run folder)",
                type=output_folder,
                metavar="DIR",
            ),
            option("--clusters", "also compute scores of k-means clusters of the features", action="store_true"),
            option(
                "--verification",
                "also compute verification scores: whether two images show one class, at fixed false positive rates",
                action="store_true",
            ),
            option(
                "--legacy-metrics",
                "also compute the scores as these two code bases define them",
                choices=["pnp", "fastreid"],
            ),
            option(
                "--gallery-draws",
                "also search N random galleries of one image for each class, with all other images as queries, and give"
                " mean and standard deviation of the scores",
                type=int,
                default=0,
                metavar="N",
            ),
            option(
                "--post",
                "also compute retrieval scores after post-processing steps, one added to the other in this order: flip,"
                " scales (the sizes in predict.sizes_px), whiten, alpha_qe, dba, k_reciprocal",
                nargs="+",
                default=[],
                metavar="STEP",
            ),
            option(
                "--whiten-dim",
                "number of dimensions that the step whiten keeps (default: all)",
                type=int,
                default=0,
                metavar="D",
            ),
            *DEVICES,
        ],
        recipe=model_recipe,
    ),
    "calibrate": Command(
        "recalibrate the classifier with several methods, after one pass over the images, and keep the best",
        calibrate,
        [
            RESUME,
            option(
                "--method",
                "methods, separated by commas: tau_norm, logit_adjustment, pc_softmax, ncm, temperature, lws, crt;"
                " or all",
                default="all",
                metavar="NAMES",
            ),
            option(
                "--out",
                "folder for the table of scores and the checkpoint (default: the run's name in output.tau_root)",
                type=output_folder,
                metavar="DIR",
            ),
            *DEVICES,
        ],
        recipe=model_recipe,
    ),
    "tau-norm": Command(
        "recalibrate the classifier with tau-norm, as `python tau_norm.py` does",
        tau_norm,
        [RESUME, *DEVICES],
        recipe=model_recipe,
    ),
    "embed": Command(
        "write the features of images to disk",
        embed,
        [
            RESUME,
            option("--out", "folder for the features", type=output_folder, metavar="DIR", required=True),
            option(
                "--split",
                "annotations of the config to read",
                choices=["train", "val", "retrieval"],
                default="val",
            ),
            option("--annotations", "read this annotation file instead", type=annotation_file, metavar="FILE"),
            option(
                "--images",
                "take all images in this folder and its subfolders instead",
                type=image_folder,
                metavar="DIR",
            ),
            option(
                "--shard-size",
                "number of images whose features are kept, in OUT_shards, as soon as they are whole: the same command"
                " goes on behind a stop or a kill. A list that has no more images makes no shards (default: 32768)",
                type=int,
                metavar="N",
            ),
            option(
                "--runner",
                "who embeds. local: this process, or those of --num-gpus or torchrun. ray: Ray actors, of this machine"
                " or of the cluster that RAY_ADDRESS names, shard by shard (extra ray)",
                choices=["local", "ray"],
                default="local",
                metavar="local|ray",
            ),
            *DEVICES,
        ],
        recipe=embed_recipe,
    ),
    "clean": Command(
        "rank training images by doubt about their labels, and propose lists for data.lists",
        clean,
        [
            RESUME,
            option(
                "--annotations",
                "check the labels of this file instead of the training annotations",
                type=annotation_file,
                metavar="FILE",
            ),
            option(
                "--out", "folder for the lists (default: clean in the run folder)", type=output_folder, metavar="DIR"
            ),
            option(
                "--keep-accuracy",
                "keep all images of a class if its accuracy is PART or more",
                type=float,
                default=0.92,
                metavar="PART",
            ),
            option(
                "--min-suspicion",
                "list an image if its suspicion is S or more, 0 to 1",
                type=float,
                default=0.7,
                metavar="S",
            ),
            *DEVICES,
        ],
        recipe=model_recipe,
    ),
}
