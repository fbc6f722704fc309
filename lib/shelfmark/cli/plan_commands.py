"""`shelfmark plan`: memory and time, before the training."""

from __future__ import annotations

import argparse

from shelfmark.cli.existing import checkpoint, memory
from shelfmark.cli.options import CONFIG, MODEL
from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command, option
from shelfmark.cli.recipes import train_recipe
from shelfmark.core.stopping import Stopped, StopSignals


def plan(args: argparse.Namespace) -> Outcome:
    with StopSignals() as signals:
        recipe = train_recipe(args)
        signals.raise_if_received()
        from shelfmark.cli import plan_screens
        from shelfmark.pipelines.plan import plan as run

        try:
            found = run(recipe, args.RESUME_MODEL, args.memory)
        except Stopped as stopped:
            raise Stopped(stopped.number, "a plan keeps nothing; the same command starts it again") from None
        return Outcome(found.as_json(), lambda: plan_screens.plan(found))


PLAN_COMMANDS = {
    "plan": Command(
        "forecast a training's memory and time from one measured step: what takes the memory, the largest batch that"
        " fits, hours",
        plan,
        [
            CONFIG,
            MODEL,
            option(
                "--RESUME_MODEL",
                "folder of the checkpoint whose weights the training begins with",
                type=checkpoint,
                metavar="CKPT",
            ),
            option(
                "--memory",
                "memory of the device that the training will run on, such as 16GB (default: that of this device)",
                type=memory,
                metavar="SIZE",
            ),
        ],
    ),
}
