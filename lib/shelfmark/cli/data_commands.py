"""The commands that prepare data, and translate command lines of other programs."""

from __future__ import annotations

import argparse
import sys

from shelfmark.cli.existing import existing, output_folder
from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command, option
from shelfmark.cli.recipes import default_config
from shelfmark.data.layouts import LAYOUTS


def prepare(args: argparse.Namespace) -> Outcome:
    from shelfmark.pipelines.prepare import prepare as run

    drawn = (args.val_fraction, args.seed, args.ratio, args.skus)
    return Outcome(run(args.what, args.source, args.out, *drawn, args.images, args.columns or (), args.format))


def migrate(args: argparse.Namespace) -> Outcome:
    from shelfmark.migrate.flow import migrate as run

    command = args.command[0] if len(args.command) == 1 else args.command
    migrated = run(command, args.dialect, default_config().parent)
    for note in migrated.notes:
        print(f"note: {note}", file=sys.stderr)
    value = {"commands": migrated.commands, "notes": migrated.notes}
    return Outcome(value, lambda: print("\n".join(migrated.commands)))


DATA_COMMANDS = {
    "prepare": Command(
        "convert a dataset into annotations, or generate the shop",
        prepare,
        [
            option(
                "what", f"layout of the original data: {', '.join(LAYOUTS)}", choices=list(LAYOUTS), metavar="LAYOUT"
            ),
            option(
                "--source",
                "folder of the original data, which every layout but shop needs. For pss_clusters and pss_features: a"
                " pickle file. For csv, parquet, coco and list: the file, or a folder of train and val files",
                type=existing("the original data"),
                metavar="DIR",
            ),
            option("--out", "folder for the annotations (default: dataset/LAYOUT)", type=output_folder, metavar="DIR"),
            option(
                "--val-fraction",
                "share for validation: of the images of each class (folder, products10k, rp2k, csv, parquet, coco,"
                " list), of the photographs (voc, yolo), or of the training classes (other retrieval sets)",
                type=float,
                default=0.2,
                metavar="PART",
            ),
            option(
                "--images",
                "csv, parquet, coco, list: folder that the paths in the file start from (default: the file's folder)",
                type=existing("the images"),
                metavar="DIR",
            ),
            option(
                "--columns",
                "csv, parquet: which column is what, where it has another name, each as OURS=THEIRS: fpath (path of the"
                " image), label (name of its class), bbox (x,y,width,height in pixels; one column, or four names),"
                " corners (left,top,right,bottom), image_id, part (train, val or test), group, weight, source",
                nargs="+",
                metavar="PAIR",
            ),
            option(
                "--format",
                "csv, parquet, coco, list: form of the annotations that are written",
                choices=("json", "parquet"),
                default="json",
                metavar="json|parquet",
            ),
            option(
                "--ratio",
                "cifar*_lt: number of images of the largest class divided by that of the smallest",
                type=float,
                default=100.0,
                metavar="R",
            ),
            option(
                "--skus",
                "shop: number of SKUs that are trained. 120: the shop of the demo. Another multiple of 5: a larger"
                " shop, with half as many SKUs again, of other families, that are never trained",
                type=int,
                default=120,
                metavar="N",
            ),
            option("--seed", "seed of the random draws (default: 0)", type=int, default=0),
        ],
        takes_config=False,
    ),
    "migrate": Command(
        "translate a command of PNPloss, Smooth_AP, FastRetri, PSS or Hi-LANDER into one of Shelfmark",
        migrate,
        [
            option("command", "the command to translate, in quotes or after --", nargs="+", metavar="COMMAND"),
            option(
                "--dialect",
                "code base of the command, needed if the command fits several",
                metavar="pnp|smoothap|fastretri|pss",
            ),
        ],
        takes_config=False,
    ),
}
