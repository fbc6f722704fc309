"""FastRetri's files of values, and its data sets."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import NamedTuple

from shelfmark.migrate.fastretri.values import literal
from shelfmark.migrate.values import Values, one_of


class File(NamedTuple):
    """recipe: ours. values: those that other keys need beside them, and those that the recipe lacks."""

    recipe: str
    values: dict[str, str]


class DataSet(NamedTuple):
    """prepare: the name for `shelfmark prepare`. folder: of the images, below FASTREID_DATASETS."""

    prepare: str
    folder: PurePosixPath


_FOLDERS = {
    "CUB": ("cub", "CUB_200_2011"),
    "Cars196": ("cars196", "Cars_196"),
    "SOP": ("sop", "Stanford_Online_Products"),
    "InShop": ("inshop", "InShop"),
}


def _values(
    data_set: str | None, rate: str, final_rate: str, recalls: str, jitter: tuple[str, str] | None = None
) -> dict[str, str]:
    """jitter: the strength of brightness, contrast and saturation, and that of hue."""
    names = {"DATASETS.NAMES": data_set} if data_set else {}
    rates = {"SOLVER.BASE_LR": rate, "SOLVER.ETA_MIN_LR": final_rate}
    if jitter is None:
        return {**names, **rates, "TEST.RECALLS": recalls, "INPUT.CJ.ENABLED": "False"}
    strength = dict.fromkeys(("INPUT.CJ.BRIGHTNESS", "INPUT.CJ.CONTRAST", "INPUT.CJ.SATURATION"), jitter[0])
    return {
        **names, **rates, "TEST.RECALLS": recalls, "INPUT.CJ.ENABLED": "True", **strength, "INPUT.CJ.HUE": jitter[1]
    }  # fmt: skip


_POWERS = "[1, 2, 4, 8, 16, 32]"
FILES = {
    "base-image_retri": File("fastretri_base", _values(None, "0.003", "3e-5", _POWERS)),
    "cub": File("fastretri_cub", _values("CUB", "0.02", "2e-5", _POWERS, ("0.25", "0"))),
    "cars": File("fastretri_cars", _values("Cars196", "0.05", "5e-4", _POWERS, ("0.3", "0.1"))),
    "sop": File("fastretri_sop", _values("SOP", "0.003", "3e-5", "[1, 10, 100, 1000]")),
    "inshop": File("fastretri_inshop", _values("InShop", "0.003", "3e-5", "[1, 10, 20, 30, 40, 50]")),
}
DATA_SETS = tuple(_FOLDERS)


def data_set_of(values: Values) -> DataSet:
    """The one of DATASETS.NAMES. Raises ValueError for several, and for one that FastRetri does not have."""
    names = literal(values["DATASETS.NAMES"])
    chosen = names if isinstance(names, list | tuple) else [names]
    if len(chosen) != 1:
        raise ValueError("Shelfmark trains on one data set at a time; name one.")
    prepare, folder = _FOLDERS[one_of(str(chosen[0]), _FOLDERS)]
    return DataSet(prepare, PurePosixPath(values.get("FASTREID_DATASETS", "dataset"), folder))
