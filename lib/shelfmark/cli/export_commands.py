"""The commands that make a file of a model which runs elsewhere: `shelfmark export`, `export verify`."""

from __future__ import annotations

import argparse

from shelfmark.cli.existing import checkpoint, existing_folder, output_folder
from shelfmark.cli.options import RESUME, image_folder
from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command, option
from shelfmark.cli.recipes import trained_model
from shelfmark.core.errors import UserError
from shelfmark.core.exit_codes import ExitCode


def export(args: argparse.Namespace) -> Outcome:
    model = trained_model(args, reads_listed=args.images is None)
    from shelfmark.cli import export_screens
    from shelfmark.pipelines.export import Asked, heads_of
    from shelfmark.pipelines.export import export as run

    asked = Asked(args.to, args.precision, heads_of(args.heads), args.images, args.index, args.reference)
    found = run(model, args.out, asked)
    value = {"folder": found.folder, "parity": found.parity}
    status = ExitCode.NOT_MET if found.folder is None else ExitCode.DONE
    return Outcome(value, lambda: export_screens.exported(found, args.out), status)


def verify(args: argparse.Namespace) -> Outcome:
    if args.RESUME_MODEL is not None and args.images is None:
        raise UserError(
            "--RESUME_MODEL is read for --images alone; the pictures in reference/ have their outputs there."
        )
    from shelfmark.cli import export_screens
    from shelfmark.pipelines.export_verify import verify as run

    found = run(args.folder, args.images, args.RESUME_MODEL, args.overrides)
    status = ExitCode.NOT_MET if found.unmet else ExitCode.DONE
    return Outcome(found.as_json(), lambda: export_screens.verified(found), status)


EXPORT_COMMANDS = {
    "export": Command(
        "write a file of the model that runs elsewhere, and the proof that it gives the same answers",
        export,
        [
            RESUME,
            option(
                "--out",
                "folder to write: the file, model.json, parity.json, predict.py and reference pictures",
                type=output_folder,
                metavar="DIR",
                required=True,
            ),
            option(
                "--index",
                "folder of an index: its hash, and its thresholds if it has any, are written to model.json",
                type=existing_folder("an index", "Build one with `shelfmark index build`."),
                metavar="DIR",
            ),
            option(
                "--images",
                "prove the file on all images in this folder and its subfolders (default: val, at most 1,000 images)",
                type=image_folder,
                metavar="DIR",
            ),
            option(
                "--to",
                "format. onnx: a file for onnxruntime and others. torch: a program of torch.export",
                choices=["onnx", "torch"],
                default="onnx",
            ),
            option(
                "--precision",
                "numbers of the file. fp16 and int8 lose a little accuracy, and a table says how much",
                choices=["fp32", "fp16", "int8"],
                default="fp32",
            ),
            option(
                "--heads",
                "further heads whose outputs the file gives, such as a metric head or expert_1",
                nargs="+",
                default=[],
                metavar="NAME",
            ),
            option(
                "--reference",
                "number of images of the proof that are copied into the folder, for `export verify`",
                type=int,
                default=200,
                metavar="N",
            ),
        ],
    ),
    "export verify": Command(
        "compare an exported file with its model once more, on this machine and runtime",
        verify,
        [
            option(
                "folder",
                "folder that `shelfmark export` wrote",
                type=existing_folder("an exported model", "Write one with `shelfmark export`."),
                metavar="DIR",
            ),
            option(
                "--images",
                "compare on all images in this folder, which the checkpoint passes too (default: the images in"
                " reference/)",
                type=image_folder,
                metavar="DIR",
            ),
            option(
                "--RESUME_MODEL",
                "for --images: folder of the checkpoint, if it was moved",
                type=checkpoint,
                metavar="CKPT",
            ),
        ],
    ),
}
