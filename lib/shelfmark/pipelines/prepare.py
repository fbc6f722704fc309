"""`shelfmark prepare`: annotations from a dataset's own layout; and the shop, where a recipe trains on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shelfmark.config.files import find_config
from shelfmark.config.load import load
from shelfmark.config.options import value_at
from shelfmark.config.overrides import parse_override
from shelfmark.core.destinations import require_place
from shelfmark.core.door import command_line
from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.core.together import from_main
from shelfmark.data.layouts import LAYOUTS, SHELVES, SHOP
from shelfmark.recipe import Recipe
from shelfmark.shop import NUM_CLASSES, generate_shop, is_complete
from shelfmark.shop.discovery_shop import NAME as DISCOVERY_SHOP
from shelfmark.shop.discovery_shop import write_discovery_shop
from shelfmark.shop.large_shop import LargeShop, is_large_shop, write_large_shop
from shelfmark.shop.shelves import is_shelves, write_shelves

_FILES = tuple(f"data.{name}" for name in ("val_json", "retrieval_json", "test_json", "test_root"))
"""The data of a recipe that other data may lack."""


def prepare(
    what: str,
    source: Path | None,
    out: Path | None,
    val_fraction: float = 0.2,
    seed: int = 0,
    ratio: float = 100.0,
    skus: int = NUM_CLASSES,
    images: Path | None = None,
    columns: Sequence[str] = (),
    form: str = "json",
) -> dict[str, Any]:
    """What was prepared, as JSON: the folder of the shop, or a layout's files, options, notes and next command.

    what: one of LAYOUTS. out: None takes dataset/<what>. skus: of the shop; another number than its 120 makes the
    larger shop. images, columns, form: of a file that another program wrote, see `converters.table_rows`.
    """
    target, layout = out or Path("dataset") / what, LAYOUTS[what]
    if what == SHELVES:
        _prepare_shelves(target, seed)
        return {"folder": target}
    if layout is None:
        _prepare_shop(target, seed, skus)
        return {"folder": target}
    require_place(target / "train.json", "--out")
    if source is None:
        raise UserError(f"--source is missing: the folder that holds the {what} data. {layout.where()}")
    options: dict[str, Any] = {"val_fraction": val_fraction, "seed": seed, "ratio": ratio}
    options |= {"images": images, "columns": columns, "form": form}
    prepared = layout.convert(source, target, options)
    made = {"files": prepared.files, "options": prepared.options, "notes": prepared.notes}
    if not layout.command:
        say(prepared.summary)
        return made
    command = next_command(layout.command, layout.recipe, prepared.options)
    say(f"{prepared.told}\nUse it with: {command}")
    return {**made, "command": command}


def next_command(command: str, recipe: str, options: Mapping[str, Path | str]) -> str:
    """The command, whole, that uses what was prepared: by a shipped recipe, with the options that differ from it.

    Files of the recipe that were not prepared are left out. recipe: '' for a command of flags, which options are then.
    """
    if not recipe:
        return command_line(command, *(word for flag in options.items() for word in flag))
    values = load(Recipe, find_config(Path(recipe))).config.model_dump(mode="json")
    typed = [parse_override(f"{key}={value}") for key, value in options.items()]
    words = [f"{one.key}={options[one.key]}" for one in typed if value_at(values, one.key) != one.value]
    others = [key for key in _FILES if key not in options and value_at(values, key)]
    return command_line(command, "--config", recipe, *(f"{key}=null" for key in others), *words)


def make_data(recipe: Recipe) -> None:
    """Generates the shop if the recipe asks for it, trains on it or discovers in it, and it does not exist yet.

    A user who names other annotations on top of such a recipe brings the data too.
    """
    data = recipe.data
    discovers = recipe.discovery.annotations == data.root / DISCOVERY_SHOP
    wants_shop = data.generated == "shop" and (discovers or data.train_json == data.root / "train.json")

    def make() -> None:
        if wants_shop and not is_complete(data.root):
            say(f"generating the shop in {data.root} ...")
            generate_shop(data.root)
        if wants_shop and discovers and not (data.root / DISCOVERY_SHOP).is_file():
            write_discovery_shop(data.root)

    from_main(make)


def _prepare_shop(root: Path, seed: int, skus: int) -> None:
    large = None if skus == NUM_CLASSES else LargeShop(skus, seed)
    if is_complete(root) if large is None else is_large_shop(root, large):
        say(f"{root} is there already")
        return
    if root.exists() and any(root.iterdir()):
        raise UserError(f"{root} is not empty and not a whole shop; give another --out, or empty it.")
    say(f"generating the shop in {root} ...")
    if large is not None:
        write_large_shop(root, large)
        say(f"the shop of {skus} SKUs is in {root}")
        return
    generate_shop(root, seed)
    say(f"the shop is in {root}; `{_trains_on_the_shop(root)}` trains on it")


def _prepare_shelves(root: Path, seed: int) -> None:
    if is_shelves(root, seed):
        say(f"{root} is there already")
        return
    if root.exists() and any(root.iterdir()):
        raise UserError(f"{root} is not empty and holds no shelves of the shop; give another --out, or empty it.")
    say(f"generating shelves of the shop in {root} ...")
    write_shelves(root, seed)
    say(f"the shelves are in {root}; docs/shelves.md says what to do with them")


def _trains_on_the_shop(root: Path) -> str:
    files = {f"data.{name}_json": root / f"{name}.json" for name in ("train", "val", "test", "retrieval")}
    return next_command("train", SHOP, {"data.root": root, "data.test_root": root / "test", **files})
