"""`shelfmark config`: what a run would do, and what its options are."""

from __future__ import annotations

import argparse

from shelfmark.cli.options import CONFIG, MODEL
from shelfmark.cli.parser import Command, option
from shelfmark.cli.recipes import settled_recipe


def config(args: argparse.Namespace) -> int:
    if args.describe is not None:
        print(_described(args))
        return 0
    if args.resume_rules:
        from shelfmark.engine.resume import rules_table

        print(rules_table())
        return 0
    from shelfmark.config.write import schema_json, to_yaml
    from shelfmark.recipe import Recipe

    print(schema_json(Recipe) if args.schema else to_yaml(settled_recipe(args)))
    return 0


CONFIG_COMMANDS = {
    "config": Command(
        "print the whole config of a run, or describe its options",
        config,
        [
            CONFIG,
            MODEL,
            option(
                "--describe",
                "describe the option KEY, such as optim.lr, or a group of options, such as optim or losses.smooth_ap",
                metavar="KEY",
            ),
            option("--schema", "print the JSON schema of configs, for editors", action="store_true"),
            option("--resume-rules", "print which options may change when a run is resumed", action="store_true"),
        ],
    ),
}


def _described(args: argparse.Namespace) -> str:
    """The option; with a config or options on the command line also the value that they give it."""
    from shelfmark.cli.option_screens import described
    from shelfmark.config.load import load
    from shelfmark.config.options import find, value_at
    from shelfmark.config.renamed import present_key
    from shelfmark.config.shape import Shape
    from shelfmark.engine.resume import rule_of
    from shelfmark.recipe import Recipe

    top = Shape.of(Recipe)
    is_given = args.config is not None or args.model is not None or bool(args.overrides)
    loaded = settled_recipe(args) if is_given else load(Recipe)
    values = loaded.config.model_dump(mode="json")
    place, key = find(top, present_key(args.describe.replace("[]", ".0")), values)
    here = (value_at(values, key), loaded.origins.get(key, "")) if key and is_given else None
    rule = rule_of(place.key)
    return described(place, here, f"{rule.rule}: {rule.why}")
