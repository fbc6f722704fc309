"""`shelfmark push` and `pull`: checkpoints to the hub and back."""

from __future__ import annotations

import argparse

from shelfmark.cli.existing import checkpoint, output_folder
from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command, option
from shelfmark.core.text_safety import printable

_REPO = "repository at the Hugging Face hub, OWNER/NAME, or a folder, file:///home/me/models/shop"


def push(args: argparse.Namespace) -> Outcome:
    from shelfmark.pipelines.share import push as run

    shared = run(args.checkpoint, args.repo, args.with_state, args.public)
    return Outcome(shared.as_json(), lambda: print(printable(f"pushed {shared.checkpoint} to {shared.place}")))


def pull(args: argparse.Namespace) -> Outcome:
    from shelfmark.pipelines.share import pull as run

    shared = run(args.repo, args.out, args.revision)
    told = f"pulled {shared.place} into {shared.checkpoint}; every byte is as its manifest says"
    return Outcome(shared.as_json(), lambda: print(printable(told)))


SHARE_COMMANDS = {
    "push": Command(
        "put a checkpoint with its model card into a repository of the Hugging Face hub, or into a folder",
        push,
        [
            option(
                "checkpoint", "folder of the checkpoint, such as log/shop/best_model", type=checkpoint, metavar="CKPT"
            ),
            option("repo", f"{_REPO}. The environment variables HF_ENDPOINT and HF_TOKEN count", metavar="REPO"),
            option(
                "--with-state",
                "also push the optimizer's state, with which a training can go on: two to three times the size",
                action="store_true",
            ),
            option("--public", "make a repository that everybody can see (default: private)", action="store_true"),
        ],
        takes_config=False,
    ),
    "pull": Command(
        "fetch a checkpoint from a repository of the Hugging Face hub, or from a folder, and check every byte of it",
        pull,
        [
            option("repo", _REPO, metavar="REPO"),
            option(
                "--out",
                "folder for the checkpoint (default: the last part of REPO, here)",
                type=output_folder,
                metavar="CKPT",
            ),
            option("--revision", "branch, tag or commit of the repository (default: main)", metavar="NAME"),
        ],
        takes_config=False,
    ),
}
