"""`shelfmark config`: what a run would do, and what its options are."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from shelfmark.cli.options import CONFIG, MODEL
from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command, option, two_columns
from shelfmark.cli.recipes import settled_recipe


def config(args: argparse.Namespace) -> Outcome:
    from shelfmark.config.files import shipped_configs

    if args.describe is not None:
        return _described(args)
    if args.list:
        shipped = {name: _first_line(file) for name, file in shipped_configs().items()}
        return Outcome(shipped, lambda: print("\n".join(two_columns(shipped))))
    if args.resume_rules:
        from shelfmark.engine.resume import RESUME_RULES, rules_table

        return Outcome([asdict(rule) for rule in RESUME_RULES], lambda: print(rules_table()))
    from shelfmark.config.write import schema_json, to_yaml
    from shelfmark.recipe import Recipe

    if args.schema:
        schema = schema_json(Recipe)
        return Outcome(json.loads(schema), lambda: print(schema))
    loaded = settled_recipe(args)
    return Outcome(loaded.config.model_dump(mode="json"), lambda: print(to_yaml(loaded)))


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
            option(
                "--list", "describe the shipped configs, each of which --config takes by its name", action="store_true"
            ),
            option("--schema", "print the JSON schema of configs, for editors", action="store_true"),
            option("--resume-rules", "print which options may change when a run is resumed", action="store_true"),
        ],
    ),
}


def _first_line(file: Path) -> str:
    """What a config says about itself: its first sentence, of the comment that it begins with."""
    words: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# "):
            break
        words += line[2:].split()
        if words[-1].endswith("."):
            break
    return " ".join(words).split(". ")[0].rstrip(".")


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
    is_given = args.config is not None or args.model is not None or bool(args.overrides)
    loaded = settled_recipe(args) if is_given else load(Recipe)
    values = loaded.config.model_dump(mode="json")
    place, key = find(top, present_key(args.describe.replace("[]", ".0")), values)
    here = (value_at(values, key), loaded.origins.get(key, "")) if key and is_given else None
    rule = rule_of(place.key)
    on_resume = f"{rule.rule}: {rule.why}"
    return Outcome(as_facts(place, here, on_resume), lambda: print(described(place, here, on_resume)))
