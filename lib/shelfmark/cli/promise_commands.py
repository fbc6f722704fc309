"""The commands of a promise: `shelfmark thresholds` and `shelfmark thresholds check`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from shelfmark.cli.existing import existing_folder, output_folder
from shelfmark.cli.options import DEVICES, RESUME, annotation_file, image_folder
from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command, option
from shelfmark.cli.recipes import model_recipe, trained_model
from shelfmark.core.errors import UserError
from shelfmark.core.exit_codes import ExitCode

if TYPE_CHECKING:
    from shelfmark.runtime.promised_pictures import Given


def share(text: str) -> float:
    """A type of options: a share, as 1% or 0.01."""
    words = text.strip()
    try:
        return float(words[:-1]) / 100 if words.endswith("%") else float(words)
    except ValueError:
        raise UserError(f"{text!r} is no share; write 1% or 0.01.") from None


def share_or_word(text: str) -> float | str | None:
    """A type of options: a share, `none`, or `auto`."""
    word = text.strip().lower()
    return None if word == "none" else word if word == "auto" else share(text)


def thresholds(args: argparse.Namespace) -> Outcome:
    from shelfmark.runtime.joint_answers import SearchSettings

    settings = SearchSettings(args.k, args.weight, args.temperature)
    given = _given(args)
    model = trained_model(args)
    from shelfmark.cli import promise_screens
    from shelfmark.pipelines.thresholds import thresholds as run

    found = run(
        model,
        args.index,
        args.max_wrong,
        args.confidence,
        args.max_false_accept,
        given=given,
        settings=settings,
        out=args.out,
    )
    value = {"thresholds": found.file, "folder": found.folder, **found.content}
    return Outcome(value, lambda: promise_screens.promised(found.content))


def check(args: argparse.Namespace) -> Outcome:
    given = _given(args)
    model = trained_model(args)
    from shelfmark.cli import promise_screens
    from shelfmark.pipelines.thresholds_check import check as run

    found = run(model, args.index, given)
    status = ExitCode.NOT_MET if found.is_broken else ExitCode.DONE
    return Outcome(found.as_json(), lambda: promise_screens.checked(found), status)


def _given(args: argparse.Namespace) -> Given:
    from shelfmark.runtime.promised_pictures import Given

    return Given(args.annotations, args.images)


_INDEX = option(
    "--index",
    "folder of the index that `recognise` will ask (default: none, the classifier answers alone)",
    type=existing_folder("an index", "Build one with `shelfmark index build`."),
    metavar="DIR",
)
_PICTURES = [
    option(
        "--images",
        "labelled photographs: in DIR one folder for each product. A folder whose name neither the model nor the index"
        " knows is a product never seen",
        type=image_folder,
        metavar="DIR",
    ),
    option(
        "--annotations",
        "labelled pictures of this annotation file. A class whose name neither the model nor the index knows is a"
        " product never seen",
        type=annotation_file,
        metavar="FILE",
    ),
]

PROMISE_COMMANDS = {
    "thresholds": Command(
        "learn when to answer, so that few answers are wrong: a promise with a confidence. Without --images and"
        " --annotations it learns on val, and on the classes that data.open_set_classes kept out of training",
        thresholds,
        [
            RESUME,
            _INDEX,
            option(
                "--max-wrong",
                "share of the answers that may be wrong, such as 0.01",
                type=share,
                default=0.01,
                metavar="SHARE",
            ),
            option(
                "--confidence",
                "probability with which the promise holds, such as 0.95",
                type=share,
                default=0.95,
                metavar="SHARE",
            ),
            option(
                "--max-false-accept",
                "share of the pictures of products never seen that may be answered, counted by product. none: nothing"
                " is promised of them. auto: 0.01, or none if there is no such picture",
                type=share_or_word,
                default="auto",
                metavar="SHARE",
            ),
            *_PICTURES,
            option("--k", "as of recognise: number of nearest gallery images", type=int, default=10, metavar="K"),
            option("--weight", "as of recognise: weight of the neighbours", type=float, default=0.5, metavar="W"),
            option(
                "--temperature", "as of recognise: temperature of the neighbours", type=float, default=0.1, metavar="T"
            ),
            option(
                "--out",
                "folder for the curves of risk and coverage (default: INDEX_thresholds, or thresholds in the run"
                " folder)",
                type=output_folder,
                metavar="DIR",
            ),
            *DEVICES,
        ],
        recipe=model_recipe,
    ),
    "thresholds check": Command(
        "say whether the promise still holds on new labelled pictures. Exit status 3: it does not",
        check,
        [RESUME, _INDEX, *_PICTURES, *DEVICES],
        recipe=model_recipe,
    ),
}
