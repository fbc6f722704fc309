"""`shelfmark train --images DIR`: what the command says before and after the training."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from typing import TYPE_CHECKING

from shelfmark.cli.help_pages import page_width
from shelfmark.cli.recipes import published_model
from shelfmark.core.door import command_line
from shelfmark.core.errors import UserError
from shelfmark.core.stopping import StopSignals
from shelfmark.core.terminal import duration
from shelfmark.core.text_safety import printable

if TYPE_CHECKING:
    from pathlib import Path

    from shelfmark.pipelines.first_run import FirstRun


_LONG = 60
"""Characters of a value in brackets above which only the file shows it."""


def train_on_images(args: argparse.Namespace, signals: StopSignals) -> int:
    """Trains on a folder of photographs, or goes on with that training."""
    _require_alone(args)
    from shelfmark.parallel.launch import num_processes_of, relaunch
    from shelfmark.pipelines.first_run import arguments, first_run

    asked = [*published_model(args), *args.overrides]
    num_processes = num_processes_of(gpu_ids=args.gpu_ids, num_processes=args.num_gpus)
    if num_processes == 1:
        # A single GPU is chosen before anything is measured on it.
        relaunch(gpu_ids=args.gpu_ids, num_processes=args.num_gpus)
    signals.raise_if_received()
    ready = first_run(args.images, asked, args.config, num_processes)
    _show_recipe(ready)
    signals.raise_if_received()
    if num_processes > 1:
        command = ["train"] if sys.argv[1:2] == ["train"] else []
        argv = [*command, *arguments(ready, asked)]
        status = relaunch(argv, gpu_ids=args.gpu_ids, num_processes=args.num_gpus)
        if status == 0:
            _show_next(ready, ready.loaded.config.output.log_root / ready.loaded.config.name)
        return status or 0
    from shelfmark.cli import screens
    from shelfmark.pipelines.train import train

    folder, summary = train(ready.loaded, ready.resume)
    screens.trained(folder, summary)
    _show_next(ready, folder)
    return 0


def _require_alone(args: argparse.Namespace) -> None:
    """Raises a UserError about options that --images makes no sense with."""
    from shelfmark.cli.existing import AUTO

    own = "--images begins a run of its own, or goes on with it; leave out"
    if args.RESUME_MODEL not in (None, AUTO):
        raise UserError(
            f"{own} --RESUME_MODEL. To finetune a model, give the annotations: "
            f"`{command_line('train', '--RESUME_MODEL', args.RESUME_MODEL)} --config dataset/NAME/NAME.yaml`."
        )
    trials = (("--smoke", args.smoke), ("--dry-run", args.dry_run), (f"--check {args.check}", args.check))
    for flag, is_set in (("--mode", args.mode), *trials):
        if is_set:
            raise UserError(f"{own} {flag}. A trial of its recipe: --config dataset/NAME/NAME.yaml {flag}.")
    if "WORLD_SIZE" in os.environ:
        raise UserError(
            "--images divides the pictures in one process, and torchrun started more. Start the command without"
            " torchrun, with --num-gpus N."
        )


def _show_recipe(ready: FirstRun) -> None:
    if ready.made is None:
        return
    lines = ["chosen, and why:"]
    for one in ready.made.choices:
        if one.why:
            lines += _wrapped(f"{one.option}={_value(one.value)}: {one.why}")
    lines.append(f"recipe, to be edited: {ready.recipe_file}")
    if ready.made.expected_s is not None:
        lines.append(f"expected: about {duration(ready.made.expected_s)}, by a few measured batches; no promise")
    print(printable("\n".join(lines)), flush=True)


def _show_next(ready: FirstRun, run: Path) -> None:
    from shelfmark.pipelines.first_run import next_commands

    lines = ["", "What next:"]
    for words, command in next_commands(ready, run):
        lines += [f"  # {words}", f"  {command}"]
    print(printable("\n".join(lines)))


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        page_width(),
        initial_indent="  ",
        subsequent_indent="      ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _value(value: object) -> str:
    from shelfmark.config.write import inline

    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        groups = ["{" + ", ".join(f"{key}: {inline(item)}" for key, item in one.items()) + "}" for one in value]
        text = f"[{', '.join(groups)}]"
        return text if len(text) <= _LONG else "..."
    return inline(value)
