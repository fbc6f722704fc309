"""Commands in several processes: `--num-gpus 2`, `--gpu_ids 0,1`, or torchrun in front of them."""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack, redirect_stdout
from typing import TYPE_CHECKING

from shelfmark.cli.options import NUM_GPUS
from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command
from shelfmark.core.errors import UserError
from shelfmark.core.stopping import Stopped, StopSignals

if TYPE_CHECKING:
    from shelfmark.recipe import Recipe


def run(command: Command, args: argparse.Namespace) -> Outcome | int:
    """What a command found, in as many processes as are asked for; the exit status of all if others have shown it."""
    if command.recipe is None:
        return command.run(args)
    # Before the long imports: a signal that comes meanwhile ends the command as one that comes later does.
    with StopSignals() as signals:
        try:
            if args.gpu_ids is None and args.num_gpus is None and "WORLD_SIZE" not in os.environ:
                return command.run(args)
            # Read before the processes start, so that what is wrong is said once, and not by each of them.
            recipe = command.recipe(args)
            signals.raise_if_received()
            from shelfmark.parallel.launch import relaunch

            status = relaunch(gpu_ids=args.gpu_ids, num_processes=args.num_gpus)
            return _as_one_of_all(command, args, recipe) if status is None else status
        except Stopped as stopped:
            advice = stopped.advice or "nothing is left half-written; the same command starts it again"
            raise Stopped(stopped.number, advice) from None


def _as_one_of_all(command: Command, args: argparse.Namespace, recipe: Recipe) -> Outcome | int:
    from shelfmark.core import dist
    from shelfmark.core.watch import Watch

    options = recipe.train
    with (
        dist.process_group(dist.local_device(options.device)),
        Watch(options.stall_s, options.stall_limit_s),
        ExitStack() as stack,
    ):
        if not dist.is_main():
            # What a command shows, the first process shows.
            stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        return command.run(args)


def require_one_process(name: str, command: Command) -> None:
    """Raises a UserError where torchrun started several processes of a command that does not share its work."""
    number = int(os.environ.get("WORLD_SIZE", "1"))
    if number > 1 and not any(one.flag == NUM_GPUS for one in command.options):
        error = UserError(
            f"`shelfmark {name}` works in one process, and {number} were started: each would do all of it and write the"
            " same files. Start it without torchrun."
        )
        error.is_told = os.environ.get("RANK", "0") != "0"
        raise error
