"""`shelfmark doctor`: the pictures and labels of a recipe, looked at before a training."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from shelfmark.cli.existing import checkpoint, output_folder
from shelfmark.cli.options import CONFIG, DEVICES
from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command, option
from shelfmark.cli.recipes import settled_recipe, train_recipe, words_of_run
from shelfmark.core.errors import UserError
from shelfmark.core.stopping import Stopped

if TYPE_CHECKING:
    from shelfmark.pipelines.doctor.flow import FeaturesOf
    from shelfmark.recipe import Recipe


def doctor(args: argparse.Namespace) -> Outcome:
    recipe = doctor_recipe(args)
    from shelfmark.cli import doctor_screens
    from shelfmark.pipelines.doctor import doctor as run

    try:
        found = run(recipe, args.out, _features(args, recipe), args.fix, words_of_run(args))
    except Stopped as stopped:
        advice = "what was looked at is kept, and the same command goes on from there"
        raise Stopped(stopped.number, advice) from None
    return Outcome(found.as_json(), lambda: doctor_screens.diagnosed(found))


def doctor_recipe(args: argparse.Namespace) -> Recipe:
    """The recipe whose pictures are looked at."""
    if args.model and args.RESUME_MODEL is not None:
        raise UserError("--model and --RESUME_MODEL both name the network that judges; give one of them.")
    recipe: Recipe = settled_recipe(args).config if args.model else train_recipe(args).config
    return recipe


def _features(args: argparse.Namespace, recipe: Recipe) -> FeaturesOf | None:
    if args.RESUME_MODEL is None and not args.model:
        return None
    from shelfmark.pipelines.doctor.features import features_by_backbone, features_by_checkpoint

    if args.model:
        return lambda paths, folder: features_by_backbone(paths, recipe, folder)
    return lambda paths, folder: features_by_checkpoint(paths, args.RESUME_MODEL, _of_network(args, recipe), folder)


def _of_network(args: argparse.Namespace, recipe: Recipe) -> list:
    """The overrides that the checkpoint takes: what it reads is named by the recipe."""
    from shelfmark.config.overrides import Override
    from shelfmark.data.source_words import reads_files

    own = [one for one in args.overrides if not one.key.startswith("data.")]
    if reads_files(recipe.data.source):
        return own
    copy = {"data.source": recipe.data.source, "data.root": str(recipe.data.root)}
    return [*own, *(Override(name, value, "the recipe") for name, value in copy.items())]


DOCTOR_COMMANDS = {
    "doctor": Command(
        "find what is wrong with a data set before the training: images that cannot be read, copies, leaks, doubtful"
        " labels, dark or blurred images, classes with too few",
        doctor,
        [
            CONFIG,
            option(
                "--RESUME_MODEL",
                "folder of a checkpoint whose network judges the labels, and finds copies that were cropped by much."
                " Without --config also its data are looked at",
                type=checkpoint,
                metavar="CKPT",
            ),
            option(
                "--model",
                "in place of --RESUME_MODEL: a backbone with published weights, a timm name such as"
                " tf_efficientnet_lite0 (docs/models.md lists names)",
                metavar="NAME",
            ),
            option(
                "--fix",
                "also write new annotations without what is surely wrong, and lists to look through. Images and"
                " annotations stay as they are",
                action="store_true",
            ),
            option(
                "--out",
                "folder for the lists and the page (default: NAME_doctor beside the runs)",
                type=output_folder,
                metavar="DIR",
            ),
            *DEVICES,
        ],
        recipe=doctor_recipe,
    ),
}
