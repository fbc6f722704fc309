"""What a command works with: the recipe, or the trained model, that its line names."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from shelfmark.cli.existing import AUTO
from shelfmark.core.errors import UserError

if TYPE_CHECKING:
    from shelfmark.config.load import Loaded
    from shelfmark.config.overrides import Override
    from shelfmark.recipe import Recipe
    from shelfmark.runtime.trained_model import TrainedModel


def trained_model(args: argparse.Namespace, reads_listed: bool = True) -> TrainedModel:
    """The model of --RESUME_MODEL, opened in every process. reads_listed: whether the command reads images that
    annotations list."""
    require_checkpoint(args)
    _require_options_fit(args)
    from shelfmark.core.together import together
    from shelfmark.runtime.trained_model import open_model, tell_source

    with together():
        model = open_model(args.RESUME_MODEL, args.overrides)
    if reads_listed:
        tell_source(model)
    return model


def model_recipe(args: argparse.Namespace) -> Recipe:
    """The recipe of the model that --RESUME_MODEL names; its weights are not read."""
    require_checkpoint(args)
    from shelfmark.engine.checkpoint import load_checkpoint
    from shelfmark.recipe.of_checkpoint import recipe_of

    return recipe_of(load_checkpoint(args.RESUME_MODEL), args.overrides)


def require_checkpoint(args: argparse.Namespace) -> None:
    """Raises UserError where --RESUME_MODEL is not given: no command guesses which model is meant."""
    if args.RESUME_MODEL is None:
        raise UserError("--RESUME_MODEL is missing: name the checkpoint, as --RESUME_MODEL log/shop/best_model.")


def train_recipe(args: argparse.Namespace, dry_run_folder: str | None = None) -> Loaded:
    """The recipe of a run: of --config, or of the checkpoint that goes on, and over it the command line's options.

    With --smoke it is that of a small run; with dry_run_folder, of one that writes there.
    """
    from shelfmark.config.load import load
    from shelfmark.recipe import Recipe
    from shelfmark.recipe.absent_files import require_prepared
    from shelfmark.recipe.fitted import shortened_warmup, stages_within, tell_of_others_files

    file, base = _base(args)
    base = [*base, *published_model(args)]
    begins_a_run, must_exist = getattr(args, "RESUME_MODEL", None) is None, _reads_data(args)
    if begins_a_run:
        base = [*base, *stages_within(file, [*base, *args.overrides])]
    loaded = load(Recipe, file, [*base, *args.overrides])
    if must_exist:
        require_prepared(loaded)
    if begins_a_run:
        tell_of_others_files(loaded, must_exist)
        if shorter := shortened_warmup(loaded):
            base = [*base, *shorter]
            loaded = load(Recipe, file, [*base, *args.overrides])
    small = _of_a_small_run(args, loaded, dry_run_folder)
    return load(Recipe, file, [*base, *small.under, *args.overrides, *small.over]) if small else loaded


class _Small(NamedTuple):
    """Options of a small run: those that the command line comes over, and those that come over it."""

    under: list[Override]
    over: list[Override]


def _of_a_small_run(args: argparse.Namespace, loaded: Loaded, dry_run_folder: str | None) -> _Small | None:
    is_smoke, check = getattr(args, "smoke", False), getattr(args, "check", None)
    if not is_smoke and dry_run_folder is None and not check:
        return None
    from shelfmark.runtime.small_runs import dry_run_overrides, first_stage_overrides, smoke_overrides

    if dry_run_folder is not None:
        return _Small([], dry_run_overrides(dry_run_folder))
    under = smoke_overrides(loaded.config) if is_smoke else []
    return _Small(under, first_stage_overrides() if check else [])


def _reads_data(args: argparse.Namespace) -> bool:
    """Whether the command trains on the recipe's own data; `config` only shows what it would do."""
    return hasattr(args, "RESUME_MODEL") and not getattr(args, "smoke", False)


def published_model(args: argparse.Namespace) -> list[Override]:
    """What --model NAME stands for. Options on the command line come over it, wherever they stand."""
    from shelfmark.config.overrides import Override
    from shelfmark.models.options import PRETRAINED

    name = getattr(args, "model", None)
    if not name:
        return []
    origin = f"command line: --model {name}"
    return [Override("model.backbone", name, origin), Override("model.weights", PRETRAINED, origin)]


def settled_recipe(args: argparse.Namespace) -> Loaded:
    """As `train_recipe`, with a number for each option that says `backbone`."""
    loaded = train_recipe(args)
    from shelfmark.data.options import InputSettings

    origins = [loaded.origins.get(f"data.{name}", "") for name in InputSettings._fields]
    typed = any(origin.startswith("command line") for origin in origins)
    if not loaded.config.data.by_weights and not typed:
        return loaded
    # Only then: what knows the numbers takes seconds to import.
    from shelfmark.core.log import remark
    from shelfmark.recipe.input_settings import disagreement, settled

    loaded = settled(loaded)
    if told := disagreement(loaded.config):
        remark(told)
    return loaded


def resume_of_small_run(args: argparse.Namespace) -> Path | None:
    """Where a small run begins: of `auto`, the checkpoint that the whole run would go on with."""
    if args.RESUME_MODEL != AUTO:
        return args.RESUME_MODEL
    from shelfmark.config.load import load
    from shelfmark.engine.checkpoint import newest_whole
    from shelfmark.recipe import Recipe

    file, base = _base(args)
    whole = load(Recipe, file, [*base, *published_model(args), *args.overrides]).config
    newest = newest_whole(whole.output.log_root / whole.name)
    return None if newest is None else newest.folder


def words_of_run(args: argparse.Namespace, but: str = "") -> list[str]:
    """The words of a training on the same recipe: its file, and the options that were typed over it, without `but`."""
    from shelfmark.config.write import inline

    file, checkpoint = args.config, getattr(args, "RESUME_MODEL", None)
    if file is None and checkpoint is not None:
        # What the run of the checkpoint was trained by.
        kept = checkpoint.parent / "config.yaml"
        file = kept if kept.is_file() else None
    typed = [f"{one.key}={inline(one.value)}" for one in args.overrides if one.key != but]
    return [*(["--config", str(file)] if file is not None else []), *typed]


def default_config() -> Path:
    """The shop's: of `configs/` here, else the shipped one."""
    from shelfmark.config.files import find_config

    return find_config(Path("configs/shop.yaml"))


def _require_options_fit(args: argparse.Namespace) -> None:
    """Raises what the model's opening would raise of a wrong option: that imports far more."""
    from shelfmark.engine.checkpoint import load_checkpoint
    from shelfmark.recipe.of_checkpoint import recipe_of

    if args.overrides:
        recipe_of(load_checkpoint(args.RESUME_MODEL), args.overrides)


def _base(args: argparse.Namespace) -> tuple[Path | None, list[Override]]:
    """Where options come from before the command line: a file, or the checkpoint that goes on."""
    if args.config is not None:
        return args.config, []
    checkpoint = getattr(args, "RESUME_MODEL", None)
    if checkpoint is not None and checkpoint != AUTO:
        from shelfmark.engine.checkpoint import config_overrides, readable_checkpoint

        return None, config_overrides(readable_checkpoint(checkpoint))
    _require_something_to_train_on(args)
    return default_config(), _without_the_shop(args.overrides)


def _require_something_to_train_on(args: argparse.Namespace) -> None:
    """Raises a UserError if a bare `train` would generate the shop in a folder that is not the checkout."""
    is_bare = hasattr(args, "images") and not any(one.key.startswith("data.") for one in args.overrides)
    if is_bare and not args.smoke and not Path("configs/shop.yaml").exists():
        _require_options(args.overrides)
        raise UserError(
            "there is nothing to train on: no option names pictures, and this folder is not the checkout, where a bare"
            " command trains on the generated shop.\n"
            "  shelfmark train --images DIR       photographs, one folder a class\n"
            "  shelfmark train --config FILE      a recipe\n"
            "  shelfmark demo                     a generated shop: trained, recalibrated, predicted"
        )


def _require_options(overrides: list[Override]) -> None:
    """Raises what is wrong with the options themselves, such as a misspelt one."""
    from shelfmark.config.load import load
    from shelfmark.recipe import Recipe

    load(Recipe, default_config(), overrides)


def _without_the_shop(overrides: list[Override]) -> list[Override]:
    """Who brings training annotations, and names no config, does not want the shop's other files beside them."""
    from shelfmark.config.overrides import Override

    if not any(override.key == "data.train_json" for override in overrides):
        return []
    shop_only = ("val_json", "test_json", "test_root", "retrieval_json")
    cleared = [Override(f"data.{name}", None, "own data.train_json") for name in shop_only]
    return [Override("data.generated", "", "own data.train_json"), *cleared]
