"""The command that makes a page of a run: `shelfmark report`."""

from __future__ import annotations

import argparse

from shelfmark.cli.existing import existing_folder, output_folder
from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command, option


def report(args: argparse.Namespace) -> Outcome:
    from shelfmark.pipelines.report import report as run

    return Outcome(run(args.folder, args.out).as_json())


REPORT_COMMANDS = {
    "report": Command(
        "write one HTML page about a run: scores, curves, mistakes with pictures, what to do next",
        report,
        [
            option("folder", "folder of the run", type=existing_folder("the folder of a run"), metavar="RUN"),
            option(
                "--out",
                "folder for report.html, and for report/ with each figure as SVG and CSV (default: the run folder)",
                type=output_folder,
                metavar="DIR",
            ),
        ],
        takes_config=False,
    ),
}
