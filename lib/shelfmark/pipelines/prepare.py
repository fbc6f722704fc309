"""`shelfmark prepare`: annotations from a dataset's own layout; and the shop, where a recipe trains on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shelfmark.core.destinations import require_place
from shelfmark.core.door import command_line
from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.core.together import from_main
from shelfmark.data.layouts import LAYOUTS
from shelfmark.recipe import Recipe
from shelfmark.shop import NUM_CLASSES, generate_shop, is_complete
from shelfmark.shop.discovery_shop import NAME as DISCOVERY_SHOP
from shelfmark.shop.discovery_shop import write_discovery_shop
from shelfmark.shop.large_shop import LargeShop, is_large_shop, write_large_shop


def prepare(
    what: str,
    source: Path | None,
    out: Path | None,
    val_fraction: float = 0.2,
    seed: int = 0,
    ratio: float = 100.0,
    skus: int = NUM_CLASSES,
) -> dict[str, Any]:
    """What was prepared, as JSON: the folder of the shop, or the files, options and notes of a layout.

    what: one of LAYOUTS. out: None takes dataset/<what>. skus: of the shop; another number than its 120 makes the
    larger shop.
    """
    target, layout = out or Path("dataset") / what, LAYOUTS[what]
    if layout is None:
        _prepare_shop(target, seed, skus)
        return {"folder": target}
    require_place(target / "train.json", "--out")
    if source is None:
        raise UserError(f"--source is missing: the folder that holds the {what} data. {layout.where()}")
    options = {"val_fraction": val_fraction, "seed": seed, "ratio": ratio}
    prepared = layout.convert(source, target, options)
    say(prepared.summary)
    return {"files": prepared.files, "options": prepared.options, "notes": prepared.notes}


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
    say(f"the shop is in {root}; `{command_line('train')}` trains on it")
