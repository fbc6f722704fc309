"""The layouts of data that `shelfmark prepare` knows. Stands apart from the converters, so that `--help` is quick."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shelfmark.data.converters.prepared import Prepared


@dataclass(frozen=True)
class Layout:
    """converter: a file of `data/converters/` and a function of it, as `sop.prepare_sop`.

    The function takes a source and a target folder. options: further options of the command line that it takes.
    """

    converter: str
    options: tuple[str, ...] = ()

    def convert(self, source: Path, out: Path, options: Mapping[str, Any]) -> Prepared:
        """Writes the annotations of `source` to `out`. options: of the command line."""
        converter: Callable[..., Prepared] = getattr(self._module(), self.converter.partition(".")[2])
        return converter(source, out, **{name: options[name] for name in self.options})

    def where(self) -> str:
        """How the data is got, and what to give as its folder: the WHERE of the converter's file."""
        found: str = self._module().WHERE
        return found

    def _module(self) -> ModuleType:
        return importlib.import_module(f"shelfmark.data.converters.{self.converter.partition('.')[0]}")


SHOP = "shop"
"""The layout that has no converter: it is generated."""
_DRAWN = ("val_fraction", "seed")
"""The options of a converter that draws images or classes for validation."""

LAYOUTS: Mapping[str, Layout | None] = {
    "aliproducts": Layout("aliproducts.prepare_aliproducts"),
    "cifar10_lt": Layout("cifar_lt.prepare_cifar10_lt", ("ratio", "seed")),
    "cifar100_lt": Layout("cifar_lt.prepare_cifar100_lt", ("ratio", "seed")),
    "grocery": Layout("grocery.prepare_grocery", ("seed",)),
    "folder": Layout("folder.prepare_folder", _DRAWN),
    SHOP: None,
    "sop": Layout("sop.prepare_sop", _DRAWN),
    "cub": Layout("cub.prepare_cub", _DRAWN),
    "cars196": Layout("cars196.prepare_cars196", _DRAWN),
    "inshop": Layout("inshop.prepare_inshop", _DRAWN),
    "inaturalist": Layout("inaturalist.prepare_inaturalist", _DRAWN),
    "vehicleid": Layout("vehicleid.prepare_vehicleid", _DRAWN),
    "products10k": Layout("products10k.prepare_products10k", _DRAWN),
    "pss": Layout("pss.prepare_pss"),
    "pss_clusters": Layout("pss_pickles.prepare_pss_clusters"),
    "pss_features": Layout("pss_pickles.prepare_pss_features"),
}
