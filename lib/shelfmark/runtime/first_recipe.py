"""The recipe that `shelfmark train --images` chooses for a division, as a file that a person edits."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.config.load import Loaded, load
from shelfmark.config.overrides import Override
from shelfmark.config.reasoned import Reasoned, reasoned_yaml
from shelfmark.core import dist
from shelfmark.core.cores import num_cores
from shelfmark.core.door import command_line
from shelfmark.core.text_safety import printable
from shelfmark.core.wording import counted
from shelfmark.data.real_roots import folders_behind_links
from shelfmark.data.sources import FileSource
from shelfmark.models.options import PRETRAINED
from shelfmark.models.published import place_at_hand
from shelfmark.recipe import Recipe, assemble
from shelfmark.recipe.assemble.model import heads_without_loss
from shelfmark.recipe.first_run import BACKBONES, COMMON, Choice, Facts, choose_network, choose_training
from shelfmark.recipe.input_settings import settled
from shelfmark.runtime.first_division import Division
from shelfmark.runtime.image_home import ImageHome
from shelfmark.runtime.measured_speed import measured_speed, sample

ASKED = "as you asked"
_AROUND_S = 20.0
"""Seconds for all that is around passes and steps: steps of the head, saves, the last evaluation, plots."""
_CHOICE = "the choice of a first recipe"
# Of a base recipe: what belongs to its own data.
_OTHER_DATA: Mapping[str, Any] = {
    "data.generated": "",
    "data.test_root": None,
    "data.more_train_json": [],
    "data.test_json": None,
    "data.retrieval_json": None,
    "data.num_classes": 0,
}


@dataclass(frozen=True)
class FirstRecipe:
    """choices: all that the file says of the run, but for its data. expected_s: seconds of the run, if known."""

    text: str
    choices: Sequence[Choice]
    expected_s: float | None


def chosen_recipe(
    home: ImageHome, run: str, division: Division, given: Loaded[Recipe], num_processes: int = 1
) -> FirstRecipe:
    """A recipe for a run in the folder `home`. given: what the user sets, on top of nothing else.

    A few batches are measured. Raises a UserError where the user's options do not fit.
    """
    asked = _asked(given)
    network, facts, pictures, read_s = _network(division, given, asked, num_processes)
    chosen = [*_not_asked([*network, *COMMON], facts), *asked]
    recipe = settled(load(Recipe, None, [_override(choice) for choice in _without_structure(chosen)])).config
    _require_weights(recipe)
    speed = measured_speed(recipe, len(division.counts), pictures, read_s)
    plan = choose_training(facts, network, speed)
    choices = [*_not_asked([*network, *plan.choices, *COMMON], facts), *asked]
    data = _data(home, run, division)
    # What does not fit together is told before anything is written.
    load(Recipe, None, [_override(choice) for choice in [*data, *choices]])
    return FirstRecipe(_text(home, run, division, [*data, *choices]), choices, plan.expected_s + _AROUND_S)


def based_recipe(home: ImageHome, run: str, division: Division, base: Path, asked: Sequence[Override]) -> FirstRecipe:
    """As `chosen_recipe`, but everything except the data is as the file `base` and the command line say."""
    given = load(Recipe, base, asked)
    values = given.config.model_dump(mode="json")
    cleared = [Choice(option, value) for option, value in _OTHER_DATA.items() if value_at(values, option) != value]
    typed = _asked(load(Recipe, None, asked))
    data = _data(home, run, division)
    data += [choice for choice in cleared if choice.option not in {one.option for one in data}]
    load(Recipe, base, [_override(choice) for choice in [*data, *typed]])
    relative = os.path.relpath(base, home.folder)
    return FirstRecipe(_text(home, run, division, [*data, *typed], relative), typed, None)


def value_at(values: Mapping[str, Any], option: str) -> Any:
    """The value of a dotted option in the dump of a recipe."""
    found: Any = values
    for part in option.split("."):
        found = found[part]
    return found


def _network(
    division: Division, given: Loaded[Recipe], asked: Sequence[Choice], num_processes: int
) -> tuple[list[Choice], Facts, list[np.ndarray], float]:
    data = given.config.data
    pictures, read_s = sample(FileSource(division.pictures, division.folders.source, data.max_image_bytes))
    has_positive = max(Counter(division.folders.val.values()).values()) > 1
    names = dict.fromkeys([*BACKBONES, *(choice.value for choice in asked if choice.option == "model.backbone")])
    facts = Facts(
        counts=division.counts,
        num_val=len(division.folders.val),
        short_side_px=float(np.median([min(picture.shape[:2]) for picture in pictures])),
        has_gpu=dist.local_device(given.config.train.device).type == "cuda",
        num_cores=num_cores(),
        num_processes=num_processes,
        is_retrieval="classifier" in heads_without_loss(given.config) and has_positive,
        weights={name: place for name in names if (place := place_at_hand(name))},
        asked={choice.option: choice.value for choice in asked},
    )
    return choose_network(facts), facts, pictures, read_s


def _asked(given: Loaded[Recipe]) -> list[Choice]:
    """The options that the user sets; of a list of groups the whole list."""
    values = given.config.model_dump(mode="json")
    options: dict[str, None] = {}
    for option in given.origins:
        parts = option.split(".")
        number = next((place for place, part in enumerate(parts) if part.isdecimal()), len(parts))
        options.setdefault(".".join(parts[:number]))
    return [Choice(option, value_at(values, option), ASKED) for option in options if option != "name"]


def _not_asked(choices: Sequence[Choice], facts: Facts) -> list[Choice]:
    return [choice for choice in choices if not facts.is_asked(choice.option)]


def _without_structure(choices: Sequence[Choice]) -> list[Choice]:
    """Without stages, which may begin after the epochs that are not chosen yet."""
    return [choice for choice in choices if not choice.option.startswith(("train.stages", "train.cache_features"))]


def _require_weights(recipe: Recipe) -> None:
    """Raises, before anything is written, what the start of the run would raise of weights that are not there."""
    is_here = recipe.model.weights == PRETRAINED and place_at_hand(recipe.model.backbone)
    if recipe.model.weights and not is_here:
        assemble.network(recipe, num_classes=2)


def _data(home: ImageHome, run: str, division: Division) -> list[Choice]:
    source = division.folders.source
    files = division.contents
    behind = folders_behind_links(source, [*division.pictures, *division.folders.test])
    return [
        Choice("name", run, "of the run: it is written to a folder of this name"),
        Choice("data.root", str(source)),
        Choice("data.train_json", str(home.folder / "train.json")),
        Choice("data.val_json", str(home.folder / "val.json")),
        *([Choice("data.test_json", str(home.folder / "test.json"))] if "test.json" in files else []),
        *([Choice("data.extra_roots", behind, "links lead there")] if behind else []),
    ]


def _text(home: ImageHome, run: str, division: Division, choices: Sequence[Choice], base: str = "") -> str:
    file, counts = home.recipe_of(run), division.counts
    images, classes = counted(sum(counts), "training image"), counted(len(counts), "class")
    header = printable(
        f"{images} of {classes}, {min(counts):,} to {max(counts):,} of each.\n"
        f"Written by `shelfmark train --images`, to be edited: the same command takes this file as it stands, and so"
        f" does `{command_line('train', '--config', file)}`. What it does not say is a default: docs/options.md."
    )
    values = sorted((Reasoned(*choice) for choice in choices), key=lambda one: _place(one.option))
    return reasoned_yaml(header, values, base)


def _place(option: str) -> int:
    """The place of an option's section in a recipe."""
    sections = list(Recipe.model_fields)
    return sections.index(option.split(".")[0])


def _override(choice: Choice) -> Override:
    return Override(choice.option, json.loads(json.dumps(choice.value)), choice.why if choice.why == ASKED else _CHOICE)
