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
    command: what is done next with the data. recipe: the shipped config that it is done by; '' where the options of
    `Prepared` say all. No command: whoever has such data has his own.
    """

    converter: str
    options: tuple[str, ...] = ()
    recipe: str = ""
    command: str = "train"

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
SHELVES = "shop_shelves"
"""Likewise: photographs of whole shelves of the shop, with boxes."""
ANY_PHOTOGRAPHS = "grocery_pretrained"
"""The shipped config that is a good begin for photographs of products, whatever they show."""
_DRAWN = ("val_fraction", "seed")
"""The options of a converter that draws images or classes for validation."""

_FOREIGN = (*_DRAWN, "images", "form")
"""The options of a converter of a file that other programs wrote."""

LAYOUTS: Mapping[str, Layout | None] = {
    "aliproducts": Layout("aliproducts.prepare_aliproducts", recipe="aliproducts_resnet50"),
    "cifar10_lt": Layout("cifar_lt.prepare_cifar10_lt", ("ratio", "seed"), "longtail/cifar100_lt"),
    "cifar100_lt": Layout("cifar_lt.prepare_cifar100_lt", ("ratio", "seed"), "longtail/cifar100_lt"),
    "grocery": Layout("grocery.prepare_grocery", ("seed",), ANY_PHOTOGRAPHS),
    "folder": Layout("folder.prepare_folder", _DRAWN, ANY_PHOTOGRAPHS),
    "csv": Layout("table_rows.prepare_csv", (*_FOREIGN, "columns"), ANY_PHOTOGRAPHS),
    "parquet": Layout("table_rows.prepare_parquet", (*_FOREIGN, "columns"), ANY_PHOTOGRAPHS),
    "coco": Layout("coco.prepare_coco", _FOREIGN, ANY_PHOTOGRAPHS),
    "list": Layout("list_rows.prepare_list", _FOREIGN, ANY_PHOTOGRAPHS),
    SHOP: None,
    SHELVES: None,
    "sop": Layout("sop.prepare_sop", _DRAWN, "retrieval/smoothap_sop"),
    "cub": Layout("cub.prepare_cub", _DRAWN, "retrieval/fastretri_cub"),
    "cars196": Layout("cars196.prepare_cars196", _DRAWN, "retrieval/fastretri_cars"),
    "inshop": Layout("inshop.prepare_inshop", _DRAWN, "retrieval/fastretri_inshop"),
    "inaturalist": Layout("inaturalist.prepare_inaturalist", _DRAWN, "retrieval/smoothap_inat"),
    "vehicleid": Layout("vehicleid.prepare_vehicleid", _DRAWN, "retrieval/smoothap_vehicleid"),
    "products10k": Layout("products10k.prepare_products10k", _DRAWN, ANY_PHOTOGRAPHS),
    "voc": Layout("voc.prepare_voc", _DRAWN, ANY_PHOTOGRAPHS),
    "yolo": Layout("yolo.prepare_yolo", _DRAWN, ANY_PHOTOGRAPHS),
    "rp2k": Layout("rp2k.prepare_rp2k", _DRAWN, ANY_PHOTOGRAPHS),
    "sku110k": Layout("sku110k.prepare_sku110k", command=""),
    "deepfashion2": Layout("deepfashion2.prepare_deepfashion2", _DRAWN, "retrieval/fastretri_inshop"),
    "pss": Layout("pss.prepare_pss", recipe="discovery/pss_inat", command="discover"),
    "pss_clusters": Layout("pss_pickles.prepare_pss_clusters", command=""),
    "pss_features": Layout("pss_pickles.prepare_pss_features", command="cluster fit"),
}
