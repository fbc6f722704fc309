"""A fitted clusterer on disk: clusterer.json, and beside it the network of lander."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from shelfmark.core.errors import UserError, choose
from shelfmark.core.files import read_json, write_json
from shelfmark.discovery.clusterers.lander import LanderClusterer
from shelfmark.discovery.clusterers.table import CLUSTERERS, AnyClusterer
from shelfmark.discovery.lander_files import load_lander, save_lander

FILE = "clusterer.json"


def write_clusterer(folder: Path, clusterer: AnyClusterer) -> None:
    """Writes the options, those learned by `fit` among them; a lander's network first, so that the json comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(clusterer, LanderClusterer):
        save_lander(folder, clusterer.model)
    names = [field.name for field in fields(clusterer) if field.name != "model"]
    options = {name: getattr(clusterer, name) for name in names}
    write_json(folder / FILE, {"name": clusterer.name, "options": options})


def read_clusterer(folder: Path) -> AnyClusterer:
    """What `write_clusterer` wrote."""
    value = read_json(folder / FILE)
    if not isinstance(value, dict) or not isinstance(value.get("options"), dict) or "name" not in value:
        raise UserError(f"{folder / FILE} is no clusterer: it needs a name and options. Fit the clusterer again.")
    kind = CLUSTERERS[choose(f"{folder / FILE}: name", str(value["name"]), CLUSTERERS)]
    options: dict[str, Any] = value["options"]
    unknown = options.keys() - {field.name for field in fields(kind)}
    if unknown:
        raise UserError(f"{folder / FILE}: {kind.name} has no option {', '.join(sorted(unknown))}.")
    if kind is LanderClusterer:
        options = options | {"model": load_lander(folder)}
    try:
        return kind(**options)
    except TypeError as error:
        raise UserError(f"{folder / FILE} does not fit {kind.name}: {error}. Fit the clusterer again.") from None
