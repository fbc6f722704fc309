"""`shelfmark train --images DIR`: from a folder of photographs to a run that can begin, and to what comes after it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shelfmark.config.load import Loaded, load
from shelfmark.config.overrides import Override
from shelfmark.core.door import command_line
from shelfmark.core.errors import UserError
from shelfmark.core.files import write_text
from shelfmark.core.log import say
from shelfmark.engine import resume
from shelfmark.engine.checkpoint import config_overrides, newest_whole
from shelfmark.engine.checkpointer import BEST
from shelfmark.recipe import Recipe
from shelfmark.runtime.first_division import Division, divided_pictures, told_changes
from shelfmark.runtime.first_recipe import FirstRecipe, based_recipe, chosen_recipe
from shelfmark.runtime.image_home import DATASETS, ImageHome, free_name, homes_of, require_places, write_home
from shelfmark.runtime.resume_plan import AUTO

_OURS = ("data.root", "data.train_json", "data.val_json", "data.test_json", "data.extra_roots", "data.generated")


@dataclass(frozen=True)
class FirstRun:
    """A run that can begin or go on. made: the recipe that was chosen now; None where its file was there."""

    images: Path
    home: ImageHome
    division: Division
    recipe_file: Path
    loaded: Loaded[Recipe]
    made: FirstRecipe | None = None

    @property
    def resume(self) -> Path | None:
        """What the training begins from: `AUTO` where the run's folder is there."""
        recipe = self.loaded.config
        return AUTO if (recipe.output.log_root / recipe.name).exists() else None


def first_run(
    images: Path, asked: Sequence[Override] = (), base: Path | None = None, num_processes: int = 1
) -> FirstRun:
    """Reads the pictures, divides them, chooses a recipe, and writes both to `dataset/<name>`.

    Of pictures that were read before, the division and the recipe stay. asked: options that win over chosen ones.
    base: a recipe in the place of the chosen one. num_processes: that will train. UserError, before anything is
    written: pictures, options or places are not as they should be.
    """
    given = load(Recipe, base, asked)
    _require_no_data(asked)
    log_root = given.config.output.log_root
    require_places(images, log_root)
    homes = homes_of(images)
    before: Mapping[str, str] = homes[-1].parts if homes else {}
    division = divided_pictures(images, before, given.config.data, log_root)
    is_known = bool(homes) and homes[-1].holds(division.contents)
    if homes and not is_known:
        say(told_changes(division, before, homes[-1].folder))
    home = homes[-1] if is_known else ImageHome(DATASETS / free_name(images, log_root), {})
    run = given.config.name if "name" in given.origins else home.name
    file = home.recipe_of(run)
    if is_known and file.is_file():
        say(f"{home.folder} divides them already, and {file} is the recipe: both are taken as they are")
        loaded = load(Recipe, file, asked)
        _require_resumable(loaded.config, file)
        return FirstRun(images, home, division, file, loaded)
    if base is None:
        made = chosen_recipe(home, run, division, given, num_processes)
    else:
        made = based_recipe(home, run, division, base, asked)
    if is_known:
        write_text(file, made.text)
    else:
        write_home(home, images, division.contents, {file: made.text}, division.is_drawn)
    division.remember(log_root)
    return FirstRun(images, home, division, file, load(Recipe, file), made)


def next_commands(ready: FirstRun, run: Path) -> list[tuple[str, str]]:
    """What comes after the training: a few words, and a command that can be pasted."""
    model, index, folders = run / BEST, run / "index", ready.division.folders
    test = [*folders.test, *folders.unlabelled_test]
    photographs = ready.images / test[0].split("/")[0] if test else ready.images
    photograph = ready.images / [*test, *folders.val][0]
    labelled = f"data.val_json={ready.home.folder / 'test_labelled.json'}"
    first = (
        ("the score on the test pictures, which had no part in any choice", _of_model("evaluate", model, labelled))
        if folders.test
        else (
            "a table of answers for a folder of photographs, with names",
            _of_model("test", model, "--images", photographs, "--topk", min(3, len(folders.class_names))),
        )
    )
    recognised = command_line("recognise", "--index", index, photograph)
    return [
        first,
        ("an index, to which new products are added without training", _of_model("index build", model, "--out", index)),
        ("one photograph: its class, and what looks like it", recognised),
    ]


def arguments(ready: FirstRun, asked: Sequence[Override]) -> list[str]:
    """The command line of `shelfmark train` that trains, or goes on with, this run in another process."""
    typed = [] if ready.made else [f"{one.key}={json.dumps(one.value, ensure_ascii=False)}" for one in asked]
    resume = ["--RESUME_MODEL", str(ready.resume)] if ready.resume else []
    return ["--config", str(ready.recipe_file), *resume, *typed]


def _of_model(name: str, model: Path, *rest: object) -> str:
    return command_line(name, "--RESUME_MODEL", model, *rest)


def _require_no_data(asked: Sequence[Override]) -> None:
    for one in asked:
        if one.key in _OURS:
            raise UserError(f"{one.origin}: --images says which pictures these are; leave one of the two out.")


def _require_resumable(recipe: Recipe, file: Path) -> None:
    """Raises a UserError if the run has begun and cannot go on with these options."""
    newest = newest_whole(recipe.output.log_root / recipe.name)
    if newest is None:
        return
    before = load(Recipe, None, config_overrides(newest)).config.model_dump(mode="json")
    refused = [
        change for change in resume.changes(before, recipe.model_dump(mode="json")) if change.rule.rule == "refused"
    ]
    if refused:
        told = "; ".join(str(change) for change in refused)
        raise UserError(
            f"{newest.folder.parent} has begun with other options, which a run keeps: {told}. Add name=NAME, with"
            f" another name, to train a second model on the same division; {file} and its run stay."
        )
