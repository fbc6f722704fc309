"""Each command: its options, and the call of the pipeline that does it."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from shelfmark.cli.cluster_commands import CLUSTER_COMMANDS
from shelfmark.cli.discover_commands import DISCOVER_COMMANDS
from shelfmark.cli.index_commands import INDEX_COMMANDS
from shelfmark.cli.parser import Command, option
from shelfmark.cli.processes import GPUS, model_recipe, opened_model
from shelfmark.core.stopping import StopSignals

if TYPE_CHECKING:
    from shelfmark.config.load import Loaded, Override

AUTO = Path("auto")
RESUME = option("--RESUME_MODEL", "checkpoint folder, as log/shop/best_model", type=Path, metavar="CKPT")
CONFIG = option("--config", "YAML recipe (default: configs/shop.yaml)", type=Path, metavar="FILE")


def train(args: argparse.Namespace) -> int:
    # Before the long imports: a signal that comes meanwhile ends the command as one that comes later does.
    with StopSignals() as signals:
        return _train(args, signals)


def _train(args: argparse.Namespace, signals: StopSignals) -> int:
    from shelfmark.cli import screens
    from shelfmark.parallel.launch import relaunch

    # Read before the processes start, so that what is wrong is said once, and not by each of them.
    recipe = _train_recipe(args)
    signals.raise_if_received()
    status = relaunch(gpu_ids=args.gpu_ids, num_processes=args.num_gpus)
    if status is not None:
        return status
    from shelfmark.pipelines.train import train as run

    is_main = os.environ.get("RANK", "0") == "0"
    if args.dry_run:
        resume = _resume_of_small_run(args)
        with tempfile.TemporaryDirectory() as thrown_away:
            run(_train_recipe(args, thrown_away), resume, args.mode, small_evaluation=True, aside=True)
        if is_main:
            screens.dry_run_passed()
        return 0
    resume = _resume_of_small_run(args) if args.smoke else args.RESUME_MODEL
    folder, summary = run(recipe, resume, args.mode, small_evaluation=args.smoke, aside=args.smoke)
    if is_main:
        screens.trained(folder, summary)
    return 0


def test(args: argparse.Namespace) -> int:
    from shelfmark.config.load import Override

    if args.tta:
        args.overrides.append(Override("predict.views", args.tta, "--tta"))
    opened = opened_model(args)
    from shelfmark.pipelines.predict import predict

    predict(opened, images=args.images, topk=args.topk, out=args.out)
    return 0


def ensemble(args: argparse.Namespace) -> int:
    from shelfmark.pipelines.ensemble import ensemble as run

    run(args.files, args.weights, args.out, args.num_classes)
    return 0


def tau_norm(args: argparse.Namespace) -> int:
    opened = opened_model(args)
    from shelfmark.cli import screens
    from shelfmark.pipelines.tau_norm import tau_norm as run

    screens.recalibrated(run(opened))
    return 0


def calibrate(args: argparse.Namespace) -> int:
    opened = opened_model(args)
    from shelfmark.cli import screens
    from shelfmark.pipelines.calibrate import calibrate as run

    screens.calibrated(run(opened, args.method.split(","), args.out))
    return 0


def weigh_experts(args: argparse.Namespace) -> int:
    opened = opened_model(args)
    from shelfmark.cli import screens
    from shelfmark.pipelines.weigh_experts import weigh_experts as run

    screens.weighed(run(opened, images=args.images))
    return 0


def embed(args: argparse.Namespace) -> int:
    opened = opened_model(args)
    from shelfmark.pipelines.embed import embed as run

    run(opened, args.out, split=args.split, annotations=args.annotations, images=args.images)
    return 0


def clean(args: argparse.Namespace) -> int:
    opened = opened_model(args)
    from shelfmark.pipelines.clean import clean as run

    run(opened, args.out, args.annotations, keep_accuracy=args.keep_accuracy, min_suspicion=args.min_suspicion)
    return 0


def pseudo_label(args: argparse.Namespace) -> int:
    opened = opened_model(args)
    from shelfmark.pipelines.pseudo_label import pseudo_label as run

    run(opened, args.out, images=args.images, min_confidence=args.min_confidence, with_train=args.with_train)
    return 0


def evaluate(args: argparse.Namespace) -> int:
    opened = opened_model(args)
    from shelfmark.cli import screens
    from shelfmark.core.files import unused_path
    from shelfmark.core.together import from_main
    from shelfmark.pipelines.evaluate import evaluate as run
    from shelfmark.pipelines.post_processing import Plan, post_process
    from shelfmark.runtime.retrieval_scores import ExtraScores

    plan = Plan.of(args.post, args.whiten_dim, opened.recipe)
    former = args.out or opened.run_folder / "evaluation"
    folder = from_main(lambda: unused_path(former))
    asked = ExtraScores(args.clusters, args.verification, args.legacy_metrics, args.gallery_draws)
    screens.evaluated(folder, run(opened, folder, asked, former), args.legacy_metrics)
    if plan.steps:
        screens.post_processed(folder, post_process(opened, folder, plan, former))
    return 0


def prepare(args: argparse.Namespace) -> int:
    from shelfmark.pipelines.prepare import prepare as run

    run(args.what, args.source, args.out, args.val_fraction, args.seed, args.ratio)
    return 0


def migrate(args: argparse.Namespace) -> int:
    from shelfmark.migrate.flow import migrate as run

    command = args.command[0] if len(args.command) == 1 else args.command
    migrated = run(command, args.dialect, _default_config().parent)
    for note in migrated.notes:
        print(f"note: {note}", file=sys.stderr)
    print("\n".join(migrated.commands))
    return 0


def config(args: argparse.Namespace) -> int:
    from shelfmark.config.write import schema_json, to_yaml
    from shelfmark.engine.resume import rules_table
    from shelfmark.recipe import Recipe

    if args.resume_rules:
        print(rules_table())
        return 0
    print(schema_json(Recipe) if args.schema else to_yaml(_train_recipe(args)))
    return 0


def demo(args: argparse.Namespace) -> int:
    from shelfmark.cli import screens
    from shelfmark.pipelines.demo import demo as run

    screens.demo(run(_train_recipe(args)))
    return 0


COMMANDS = {
    "train": Command(
        "train, resume or finetune; the same as `python main.py`",
        train,
        [
            CONFIG,
            option(
                "--RESUME_MODEL",
                "checkpoint folder, as log/shop/last; auto: the newest one of log/<name>, and a fresh run there where"
                " there is none",
                type=Path,
                metavar="CKPT",
            ),
            option("--mode", "continue the checkpoint's run or finetune it", choices=["resume", "finetune"]),
            option("--smoke", "two epochs of four steps on the shop", action="store_true"),
            option("--dry-run", "two batches of each phase, nothing kept", action="store_true"),
            option("--gpu_ids", "GPUs to train on, as 0,1; starts one process each", metavar="IDS"),
            option("--num-gpus", "number of processes to train with", type=int, metavar="N"),
        ],
    ),
    "test": Command(
        "predict a test set; the same as `python test.py`",
        test,
        [
            RESUME,
            option("--images", "predict every photograph under this folder instead", type=Path, metavar="DIR"),
            option(
                "--tta", "predict several views of each image and average", choices=["flip", "five_crop", "ten_crop"]
            ),
            option("--topk", "also write the best K classes with probabilities", type=int, default=0, metavar="K"),
            option("--out", "submission file (default: submission.csv in the run folder)", type=Path, metavar="FILE"),
            *GPUS,
        ],
        recipe=model_recipe,
    ),
    "ensemble": Command(
        "join the top-k files of several models into one submission",
        ensemble,
        [
            option("files", "files that `test --topk K` wrote", type=Path, nargs="+", metavar="CSV"),
            option("--weights", "one number a file (default: all equal)", type=float, nargs="+", metavar="W"),
            option(
                "--num-classes", "refuse files with a class of this number or above", type=int, default=0, metavar="N"
            ),
            option("--out", "submission file", type=Path, default=Path("ensemble.csv"), metavar="FILE"),
        ],
        takes_config=False,
    ),
    "tau-norm": Command(
        "recalibrate the classifier; the same as `python tau_norm.py`",
        tau_norm,
        [RESUME, *GPUS],
        recipe=model_recipe,
    ),
    "calibrate": Command(
        "recalibrate the classifier in many ways from one feature pass, and keep the best",
        calibrate,
        [
            RESUME,
            option(
                "--method",
                "all, or one or more of tau_norm,logit_adjustment,pc_softmax,ncm,temperature,lws,crt (default: all)",
                default="all",
                metavar="NAMES",
            ),
            option("--out", "folder for the table and the checkpoint", type=Path, metavar="DIR"),
            *GPUS,
        ],
        recipe=model_recipe,
    ),
    "weigh-experts": Command(
        "weigh the experts of a model by unlabelled images, as SADE does",
        weigh_experts,
        [
            RESUME,
            option("--images", "every photograph under this folder (default: the test set)", type=Path, metavar="DIR"),
            *GPUS,
        ],
        recipe=model_recipe,
    ),
    "evaluate": Command(
        "score a checkpoint on val and on query and gallery pictures",
        evaluate,
        [
            RESUME,
            option("--out", "folder for the scores", type=Path, metavar="DIR"),
            option("--clusters", "also score k-means clusters of the features", action="store_true"),
            option("--verification", "also tell same from different, at given false positives", action="store_true"),
            option("--legacy-metrics", "also score as older code defines it", choices=["pnp", "fastreid"]),
            option(
                "--gallery-draws",
                "also search one random image of each class with all others, so many times: the mean and its deviation",
                type=int,
                default=0,
                metavar="N",
            ),
            option(
                "--post",
                "also score the search after each of these steps, one upon the other: flip, scales (those of"
                " predict.sizes_px), whiten, alpha_qe, dba, k_reciprocal",
                nargs="+",
                default=[],
                metavar="STEP",
            ),
            option("--whiten-dim", "directions that whiten keeps (default: all)", type=int, default=0, metavar="D"),
            *GPUS,
        ],
        recipe=model_recipe,
    ),
    "embed": Command(
        "write features of images to disk, once",
        embed,
        [
            RESUME,
            option("--out", "folder for the features", type=Path, metavar="DIR", required=True),
            option("--split", "which annotations of the config", choices=["train", "val", "retrieval"], default="val"),
            option("--annotations", "another annotation file", type=Path, metavar="FILE"),
            option("--images", "a folder of photographs", type=Path, metavar="DIR"),
            *GPUS,
        ],
        recipe=model_recipe,
    ),
    "clean": Command(
        "rank training images by the doubt about their label, and propose lists for data.lists",
        clean,
        [
            RESUME,
            option("--annotations", "judge these instead of the training annotations", type=Path, metavar="FILE"),
            option("--out", "folder for the lists (default: clean in the run folder)", type=Path, metavar="DIR"),
            option(
                "--keep-accuracy",
                "a class with this part of its images right loses none",
                type=float,
                default=0.92,
                metavar="PART",
            ),
            option("--min-suspicion", "least suspicion of what is listed", type=float, default=0.7, metavar="S"),
            *GPUS,
        ],
        recipe=model_recipe,
    ),
    "pseudo-label": Command(
        "write confident predictions of unlabelled images as annotations",
        pseudo_label,
        [
            RESUME,
            option("--images", "every photograph under this folder (default: the test set)", type=Path, metavar="DIR"),
            option("--min-confidence", "least probability of a label", type=float, default=0.9, metavar="P"),
            option("--with-train", "put the training annotations in front", action="store_true"),
            option("--out", "annotation file", type=Path, metavar="FILE", required=True),
            *GPUS,
        ],
        recipe=model_recipe,
    ),
    **INDEX_COMMANDS,
    **DISCOVER_COMMANDS,
    **CLUSTER_COMMANDS,
    "prepare": Command(
        "convert or generate a dataset",
        prepare,
        [
            option(
                "what",
                "layout of the source",
                choices=[
                    *["aliproducts", "cifar10_lt", "cifar100_lt", "grocery", "folder", "shop"],
                    *["sop", "cub", "cars196", "inshop", "inaturalist", "vehicleid", "products10k"],
                    *["pss", "pss_clusters", "pss_features"],
                ],
            ),
            option("--source", "folder of the original data; pss_*: a pickle", type=Path, metavar="DIR"),
            option("--out", "folder for the annotations", type=Path, metavar="DIR"),
            option(
                "--val-fraction",
                "folder, products10k: part of each class for validation; the other retrieval sets: part of the"
                " training classes (default: 0.2)",
                type=float,
                default=0.2,
                metavar="PART",
            ),
            option("--ratio", "cifar*_lt: largest class over smallest", type=float, default=100.0, metavar="R"),
            option("--seed", "of the split, the draw or the shop", type=int, default=0),
        ],
        takes_config=False,
    ),
    "migrate": Command(
        "print our command for one of PNPloss, Smooth_AP, FastRetri, PSS or Hi-LANDER",
        migrate,
        [
            option("command", "the old command line, between quotes or behind --", nargs="+", metavar="COMMAND"),
            option("--dialect", "whose it is, where it cannot be told", metavar="pnp|smoothap|fastretri|pss"),
        ],
        takes_config=False,
    ),
    "config": Command(
        "print the resolved config, or its JSON schema for editors",
        config,
        [
            CONFIG,
            option("--schema", "print the JSON schema", action="store_true"),
            option("--resume-rules", "print what may change when a run is resumed", action="store_true"),
        ],
    ),
    "demo": Command("the whole road on the generated shop; the same as `make demo`", demo, [CONFIG]),
}


def _train_recipe(args: argparse.Namespace, dry_run_folder: str | None = None) -> Loaded:
    from shelfmark.config.load import load
    from shelfmark.recipe import Recipe
    from shelfmark.runtime.small_runs import dry_run_overrides, smoke_overrides

    file, base = _base(args)
    overrides = [*base, *args.overrides]
    loaded = load(Recipe, file, overrides)
    if getattr(args, "smoke", False):
        loaded = load(Recipe, file, [*base, *smoke_overrides(loaded.config), *args.overrides])
    if dry_run_folder is not None:
        loaded = load(Recipe, file, [*overrides, *dry_run_overrides(dry_run_folder)])
    return loaded


def _resume_of_small_run(args: argparse.Namespace) -> Path | None:
    """Where a small run begins: of `auto`, the checkpoint that the whole run would go on with."""
    if args.RESUME_MODEL != AUTO:
        return args.RESUME_MODEL
    from shelfmark.config.load import load
    from shelfmark.engine.checkpoint import newest_whole
    from shelfmark.recipe import Recipe

    file, base = _base(args)
    whole = load(Recipe, file, [*base, *args.overrides]).config
    newest = newest_whole(whole.output.log_root / whole.name)
    return None if newest is None else newest.folder


def _base(args: argparse.Namespace) -> tuple[Path | None, list[Override]]:
    """Where options come from before the command line: a file, or the checkpoint that goes on."""
    if args.config is not None:
        return args.config, []
    checkpoint = getattr(args, "RESUME_MODEL", None)
    if checkpoint is not None and checkpoint != AUTO:
        from shelfmark.engine.checkpoint import readable_checkpoint
        from shelfmark.runtime.trained_model import config_overrides

        return None, config_overrides(readable_checkpoint(checkpoint))
    return _default_config(), _without_the_shop(args.overrides)


def _without_the_shop(overrides: list[Override]) -> list[Override]:
    """Who brings training annotations, and names no config, does not want the shop's other files beside them."""
    from shelfmark.config.load import Override

    if not any(override.key == "data.train_json" for override in overrides):
        return []
    shop_only = ("val_json", "test_json", "test_root", "retrieval_json")
    cleared = [Override(f"data.{name}", None, "own data.train_json") for name in shop_only]
    return [Override("data.generated", "", "own data.train_json"), *cleared]


def _default_config() -> Path:
    here = Path("configs/shop.yaml")
    beside_the_package = Path(__file__).parents[3] / here
    return here if here.exists() or not beside_the_package.exists() else beside_the_package
