"""`shelfmark config`: what a run would do, and what its options are."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from shelfmark.cli.options import CONFIG
from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command, option
from shelfmark.cli.recipes import train_recipe


def config(args: argparse.Namespace) -> Outcome:
    if args.describe is not None:
        return _described(args)
    if args.resume_rules:
        from shelfmark.engine.resume import RESUME_RULES, rules_table

        return Outcome([asdict(rule) for rule in RESUME_RULES], lambda: print(rules_table()))
    from shelfmark.config.write import schema_json, to_yaml
    from shelfmark.recipe import Recipe

    if args.schema:
        schema = schema_json(Recipe)
        return Outcome(json.loads(schema), lambda: print(schema))
    loaded = train_recipe(args)
    return Outcome(loaded.config.model_dump(mode="json"), lambda: print(to_yaml(loaded)))


CONFIG_COMMANDS = {
    "config": Command(
        "print the whole config of a run, or describe its options",
        config,
        [
            CONFIG,
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


def _described(args: argparse.Namespace) -> Outcome:
    """The option; with a config or options on the command line also the value that they give it."""
    from shelfmark.cli.option_screens import as_facts, described
    from shelfmark.config.load import load
    from shelfmark.config.options import find, value_at
    from shelfmark.config.renamed import present_key
    from shelfmark.config.shape import Shape
    from shelfmark.engine.resume import rule_of
    from shelfmark.recipe import Recipe

    top = Shape.of(Recipe)
    is_given = args.config is not None or bool(args.overrides)
    loaded = train_recipe(args) if is_given else load(Recipe)
    values = loaded.config.model_dump(mode="json")
    place, key = find(top, present_key(args.describe.replace("[]", ".0")), values)
    here = (value_at(values, key), loaded.origins.get(key, "")) if key and is_given else None
    rule = rule_of(place.key)
    on_resume = f"{rule.rule}: {rule.why}"
    return Outcome(as_facts(place, here, on_resume), lambda: print(described(place, here, on_resume)))
