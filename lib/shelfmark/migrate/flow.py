"""`shelfmark migrate`: the command line of another code base as one of ours, with what the recipe has left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shelfmark.config.load import Override, load
from shelfmark.migrate import RUN_FOLDER, Translation, override_text, shell_word, translate
from shelfmark.recipe import Recipe

# What an evaluation may still decide; all else stands in the checkpoint.
_OF_EVALUATION = (
    *("data.root", "data.num_workers", "data.input_size_px", "data.eval_resize_px", "data.eval_crop"),
    *("eval.batch_size", "eval.recall_at"),
)


@dataclass(frozen=True)
class Migrated:
    """commands: lines for a shell, one for each test. notes: what has no effect or no counterpart, and what to do."""

    commands: list[str]
    notes: list[str]


def migrate(command: str | Sequence[str], dialect: str | None, recipes: Path) -> Migrated:
    """Our command for an old one. recipes: the folder of our recipes, configs.

    Raises UserError for what the original, or our config, would refuse; its text names the old flag.
    """
    translation = translate(command, dialect)
    file = recipes / translation.folder / f"{translation.recipe}.yaml"
    recipe = load(Recipe, file).config
    run = load(Recipe, file, translation.overrides).config
    kept = changes(translation.overrides, recipe)
    folder = str(run.output.log_root / run.name)
    options = [word.replace(RUN_FOLDER, folder) for word in translation.options]
    if translation.tests or translation.reads == "checkpoint":
        kept = [override for override in kept if override.key in _OF_EVALUATION]
    lines = [
        " ".join([*_quoted_values(translation.environment), *map(shell_word, words)])
        for words in _words(translation, file, options, [override_text(override) for override in kept])
    ]
    return Migrated(lines, translation.notes)


def changes(overrides: Sequence[Override], recipe: Recipe) -> list[Override]:
    """The overrides that say something else than the recipe, in their order."""
    values = recipe.model_dump(mode="json")
    return [override for override in overrides if _plain(override.value) != _value(values, override.key)]


def _words(translation: Translation, file: Path, options: list[str], overrides: list[str]) -> list[list[str]]:
    if translation.tests:
        tests = [f"data.retrieval_json={test}" for test in translation.tests]
        return [["shelfmark", "evaluate", *options, test, *overrides] for test in tests]
    command = translation.launcher or ["shelfmark", *translation.command]
    source = ["--config", str(file)] if translation.reads == "recipe" else []
    return [[*command, *source, *options, *overrides]]


def _quoted_values(environment: Sequence[str]) -> list[str]:
    """A quote before the `=` would make the assignment a command."""
    pairs = [one.partition("=") for one in environment]
    return [f"{name}={shell_word(value) if value else ''}" for name, _, value in pairs]


def _value(values: Any, key: str) -> Any:
    for part in key.split("."):
        if isinstance(values, list):
            values = values[int(part)] if int(part) < len(values) else None
        else:
            values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _plain(value: Any) -> Any:
    """As JSON has it: a path without a `./` in front."""
    return str(Path(value)) if isinstance(value, str) and "/" in value else value
