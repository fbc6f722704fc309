"""`shelfmark config`: what a run would do, and what its options are."""

from __future__ import annotations

import argparse

from shelfmark.cli.options import CONFIG
from shelfmark.cli.parser import Command, option
from shelfmark.cli.recipes import train_recipe


def config(args: argparse.Namespace) -> int:
    from shelfmark.config.write import schema_json, to_yaml
    from shelfmark.engine.resume import rules_table
    from shelfmark.recipe import Recipe

    if args.resume_rules:
        print(rules_table())
        return 0
    print(schema_json(Recipe) if args.schema else to_yaml(train_recipe(args)))
    return 0


CONFIG_COMMANDS = {
    "config": Command(
        "print the resolved config, or its JSON schema for editors",
        config,
        [
            CONFIG,
            option("--schema", "print the JSON schema", action="store_true"),
            option("--resume-rules", "print what may change when a run is resumed", action="store_true"),
        ],
    ),
}
