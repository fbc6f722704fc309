"""`shelfmark migrate`: the command line of another code base as one of ours, without what the recipe has already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shelfmark.config.load import load
from shelfmark.config.overrides import Override
from shelfmark.config.shape import Shape
from shelfmark.migrate.command import override_text, shell_word
from shelfmark.migrate.dialects import translate
from shelfmark.migrate.translation import RUN_FOLDER, Translation
from shelfmark.recipe import Recipe

# What an evaluation may still decide; all else stands in the checkpoint.
OF_EVALUATION = (
    *("data.root", "data.num_workers", "data.input_size_px", "data.eval_resize_px", "data.eval_crop"),
    *("eval.batch_size", "eval.recall_at"),
)


@dataclass(frozen=True)
class Migration:
    """commands: lines for a shell, one for each test. notes: what has no effect, or nothing like it, and what to do."""

    commands: list[str]
    notes: list[str]


def migrate(command: str | Sequence[str], dialect: str | None, recipes: Path) -> Migration:
    """Our command for an old one. recipes: the folder of our recipes, configs.

    Raises UserError for what the original, or our config, would refuse; its text names the old flag.
    """
    translation = translate(command, dialect)
    require_options(one.key for one in translation.overrides)
    file = recipes / f"{translation.recipe}.yaml"
    recipe = load(Recipe, file).config
    run = load(Recipe, file, translation.overrides).config
    kept = changes(translation.overrides, recipe)
    folder = str(run.output.log_root / run.name)
    options = [word.replace(RUN_FOLDER, folder) for word in translation.options]
    if translation.tests or translation.reads == "checkpoint":
        kept = [override for override in kept if override.key in OF_EVALUATION]
    lines = [
        " ".join([*_assignments(translation.environment), *map(shell_word, words)])
        for words in _words(translation, file, options, [override_text(override) for override in kept])
    ]
    return Migration(lines, translation.notes)


def require_options(keys: Iterable[str]) -> None:
    """Raises KeyError for a key that no recipe has: the fault of our tables, not of the user."""
    for key in keys:
        places = [Shape.of(Recipe)]
        for part in key.split("."):
            members = [member for place in places for member in _members(place)]
            places = [below for member in members if (below := member.child(part))]
        if not places:
            raise KeyError(f"{key} is no option of a recipe; correct the table in shelfmark/migrate that writes it")


def changes(overrides: Sequence[Override], recipe: Recipe) -> list[Override]:
    """The overrides that say something else than the recipe, in their order."""
    values = recipe.model_dump(mode="json")
    return [override for override in overrides if _plain(override.value) != _value(values, override.key)]


def _members(place: Shape) -> list[Shape]:
    """The members of a union, any of which may hold the key; else the place itself."""
    return [place.member({place.tag: name}) for name in place.choices] if place.tag else [place]


def _words(translation: Translation, file: Path, options: list[str], overrides: list[str]) -> list[list[str]]:
    command = translation.launcher or ("shelfmark", *translation.command)
    if translation.tests:
        return [[*command, *options, f"data.retrieval_json={test}", *overrides] for test in translation.tests]
    source = ["--config", str(file)] if translation.reads == "recipe" else []
    return [[*command, *source, *options, *overrides]]


def _assignments(environment: Mapping[str, str]) -> list[str]:
    """A quote before the `=` would make the assignment a command."""
    return [f"{name}={shell_word(value) if value else ''}" for name, value in environment.items()]


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
