"""The commands that train: `shelfmark train` and `demo`."""

from __future__ import annotations

import argparse
import tempfile
from contextlib import nullcontext
from typing import TYPE_CHECKING

from shelfmark.cli.existing import checkpoint_or_auto, existing_folder
from shelfmark.cli.options import CONFIG, DEVICES, MODEL
from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command, option
from shelfmark.cli.recipes import resume_of_small_run, train_recipe
from shelfmark.core.errors import UserError
from shelfmark.core.exit_codes import ExitCode
from shelfmark.core.stopping import StopSignals

if TYPE_CHECKING:
    from shelfmark.config.load import Loaded


def train(args: argparse.Namespace) -> Outcome | int:
    # Before the long imports: a signal that comes meanwhile ends the command as one that comes later does.
    with StopSignals() as signals:
        signals.kept = lambda: "nothing was saved"
        if args.images is None:
            return _train(args, signals)
        from shelfmark.cli.first_run import train_on_images

        return train_on_images(args, signals)


def demo(args: argparse.Namespace) -> Outcome:
    from shelfmark.cli import screens
    from shelfmark.pipelines.demo import demo as run

    result = run(train_recipe(args))
    value = {
        "run": result.run,
        "scores": result.trained,
        "recalibrated": {"checkpoint": result.recalibrated.checkpoint, "method": result.recalibrated.saved},
        "submission": result.predicted.submission,
        "index": result.index,
        "promise": None if result.promise is None else result.promise.content,
        "exported": None if result.exported is None else result.exported.folder,
        "seconds": result.seconds,
    }
    return Outcome(value, lambda: screens.demo(result))


def _train(args: argparse.Namespace, signals: StopSignals) -> Outcome | int:
    with tempfile.TemporaryDirectory() if args.dry_run else nullcontext() as thrown_away:
        return _train_by_config(args, signals, thrown_away)


def _train_by_config(args: argparse.Namespace, signals: StopSignals, dry_run_folder: str | None) -> Outcome | int:
    # Read before the processes start, so that what is wrong is said once, and not by each of them.
    if args.check is not None and args.dry_run:
        raise UserError(f"--check {args.check} and --dry-run are two trials; give one of them.")
    recipe = train_recipe(args, dry_run_folder)
    from shelfmark.cli import screens
    from shelfmark.parallel.launch import relaunch

    signals.raise_if_received()
    status = relaunch(gpu_ids=args.gpu_ids, num_processes=args.num_gpus)
    if status is not None:
        return status
    from shelfmark.pipelines.train import train as run

    if args.check is not None:
        return _checked(args, recipe)
    if args.dry_run:
        run(recipe, resume_of_small_run(args), args.mode, small_evaluation=True, aside=True)
        return Outcome({"dry_run": "passed"}, screens.dry_run_passed)
    resume = resume_of_small_run(args) if args.smoke else args.RESUME_MODEL
    folder, summary = run(recipe, resume, args.mode, small_evaluation=args.smoke, aside=args.smoke)
    return Outcome({"run": folder, "scores": summary}, lambda: screens.trained(folder, summary))


def _checked(args: argparse.Namespace, recipe: Loaded) -> Outcome:
    from shelfmark.cli import check_screens
    from shelfmark.pipelines import train_checks

    checkpoint = resume_of_small_run(args)
    if args.check == "rate":
        tried = train_checks.check_rate(recipe, checkpoint)
        return Outcome(tried.as_json(), lambda: check_screens.rate(tried), _status(tried.passed))
    learned = train_checks.check_overfit(recipe, checkpoint)
    return Outcome(learned.as_json(), lambda: check_screens.overfit(learned), _status(learned.passed))


def _status(passed: bool) -> ExitCode:
    return ExitCode.DONE if passed else ExitCode.NOT_MET


TRAIN_COMMANDS = {
    "train": Command(
        "train, resume or finetune a model, as `python main.py` does",
        train,
        [
            option(
                "--images",
                "folder of photographs, one folder a class: divides them, chooses a recipe, trains, and says what is"
                " next (docs/first_hour.md)",
                type=existing_folder("a folder of photographs"),
                metavar="DIR",
            ),
            CONFIG,
            MODEL,
            option(
                "--RESUME_MODEL",
                "folder of the checkpoint to start from, such as log/shop/last. auto: the newest checkpoint in"
                " log/<name>, or a new run if there is none",
                type=checkpoint_or_auto,
                metavar="CKPT",
            ),
            option(
                "--mode",
                "resume: continue the run of the checkpoint. finetune: start a new run with its weights",
                choices=["resume", "finetune"],
            ),
            option("--smoke", "a trial: two epochs of four steps on the generated shop", action="store_true"),
            option("--dry-run", "a trial: two batches of each phase. Nothing is kept", action="store_true"),
            option(
                "--check",
                "a trial whose weights are discarded, with exit status 3 where it fails. overfit: trains on one batch"
                " until the loss is near zero, or says what is wrong. rate: raises the learning rate from step to step,"
                " and proposes one",
                choices=["overfit", "rate"],
            ),
            *DEVICES,
        ],
    ),
    "demo": Command(
        "train, recalibrate, predict, export: the whole road on the generated shop, as `make demo`", demo, [CONFIG]
    ),
}
