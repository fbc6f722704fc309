"""`shelfmark prepare`: annotations from a dataset's own layout; and the shop, where a recipe trains on it."""

from __future__ import annotations

from pathlib import Path

from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.core.together import from_main
from shelfmark.data.converters import (
    prepare_aliproducts,
    prepare_cars196,
    prepare_cifar_lt,
    prepare_cub,
    prepare_folder,
    prepare_grocery,
    prepare_inaturalist,
    prepare_inshop,
    prepare_products10k,
    prepare_pss,
    prepare_pss_clusters,
    prepare_pss_features,
    prepare_sop,
    prepare_vehicleid,
)
from shelfmark.recipe import Recipe
from shelfmark.shop import generate_shop, is_complete
from shelfmark.shop.discovery_shop import NAME as DISCOVERY_SHOP
from shelfmark.shop.discovery_shop import write_discovery_shop

# Converters that draw a part for validation.
_SPLITTING = {
    "cars196": prepare_cars196,
    "cub": prepare_cub,
    "folder": prepare_folder,
    "inaturalist": prepare_inaturalist,
    "inshop": prepare_inshop,
    "products10k": prepare_products10k,
    "sop": prepare_sop,
    "vehicleid": prepare_vehicleid,
}
_AS_PUBLISHED = {
    "aliproducts": prepare_aliproducts,
    "grocery": prepare_grocery,
    "pss": prepare_pss,
    "pss_clusters": prepare_pss_clusters,
    "pss_features": prepare_pss_features,
}


def prepare(
    what: str,
    source: Path | None,
    out: Path | None,
    val_fraction: float = 0.2,
    seed: int = 0,
    ratio: float = 100.0,
) -> None:
    """what: shop, or a layout that the command's help lists. out: None takes dataset/<what>."""
    target = out or Path("dataset") / what
    if what == "shop":
        _prepare_shop(target, seed)
        return
    if source is None:
        raise UserError(f"--source is missing: the folder that holds the {what} data.")
    if what in _SPLITTING:
        prepared = _SPLITTING[what](source, target, val_fraction=val_fraction, seed=seed)
    elif what in ("cifar10_lt", "cifar100_lt"):
        prepared = prepare_cifar_lt(what, source, target, ratio=ratio, seed=seed)
    else:
        prepared = _AS_PUBLISHED[what](source, target)
    say(prepared.summary)


def make_data(recipe: Recipe) -> None:
    """Generates the shop where the recipe asks for it, trains on it or discovers in it, and it is not there yet.

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


def _prepare_shop(root: Path, seed: int) -> None:
    if is_complete(root):
        say(f"{root} is there already")
        return
    if root.exists() and any(root.iterdir()):
        raise UserError(f"{root} is not empty and not a whole shop; give another --out, or empty it.")
    say(f"generating the shop in {root} ...")
    generate_shop(root, seed)
    say(f"the shop is in {root}; `python main.py` trains on it")
