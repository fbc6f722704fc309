"""A fitted clusterer on disk: clusterer.json, and beside it the network of lander."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from shelfmark.core.errors import UserError, choose
from shelfmark.core.manifests import read_manifest, write_manifest
from shelfmark.discovery.clusterers.clusters import Clusterer
from shelfmark.discovery.clusterers.lander import LanderClusterer
from shelfmark.discovery.clusterers.table import CLUSTERERS
from shelfmark.discovery.lander_files import load_lander, save_lander

FILE = "clusterer.json"


def write_clusterer(folder: Path, clusterer: Clusterer) -> None:
    """Writes the options, those learned by `fit` among them; a lander's network first, so that the json comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(clusterer, LanderClusterer):
        save_lander(folder, clusterer.model)
    names = [field.name for field in fields(clusterer) if field.name != "model"]
    options = {name: getattr(clusterer, name) for name in names}
    write_manifest(folder / FILE, {"format_version": 2, "name": clusterer.name, "options": options})


def read_clusterer(folder: Path) -> Clusterer:
    """What `write_clusterer` wrote."""
    # Version 0.1.0 wrote neither a format_version nor a digest.
    value = read_manifest(folder / FILE, unversioned=True)
    if not isinstance(value.get("options"), dict) or "name" not in value:
        raise UserError(f"{folder / FILE} is no clusterer: it needs a name and options. Fit the clusterer again.")
    kind: Any = CLUSTERERS[choose(f"{folder / FILE}: name", str(value["name"]), CLUSTERERS)]
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
